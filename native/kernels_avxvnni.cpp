#define PODIUM_ISA avxvnni
#define PODIUM_VECTOR_BYTES 32
#define PODIUM_DOT_VNNI
#include "kernels.ipp"

#define PODIUM_ISA avx512vnni
#define PODIUM_VECTOR_BYTES 64
#define PODIUM_DOT_VNNI
#include "kernels.ipp"

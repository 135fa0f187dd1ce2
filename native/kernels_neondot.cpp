#define PODIUM_ISA neondot
#define PODIUM_VECTOR_BYTES 16
#define PODIUM_DOT_SDOT
#include "kernels.ipp"

#define PODIUM_ISA avx2
#define PODIUM_VECTOR_BYTES 32
#define PODIUM_DOT_MADD
#include "kernels.ipp"

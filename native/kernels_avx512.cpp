#define PODIUM_ISA avx512
#define PODIUM_VECTOR_BYTES 64
#define PODIUM_DOT_MADD
#include "kernels.ipp"

#define PODIUM_ISA neon
#define PODIUM_VECTOR_BYTES 16
#define PODIUM_DOT_SMULL
#include "kernels.ipp"

#define PODIUM_ISA portable
#define PODIUM_VECTOR_BYTES 16
#define PODIUM_DOT_PLAIN
#include "kernels.ipp"

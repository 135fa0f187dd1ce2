#define PODIUM_ISA neoni8mm
#define PODIUM_VECTOR_BYTES 16
#define PODIUM_DOT_USMMLA
#include "kernels.ipp"

// Every kernel, for one instruction set: PODIUM_ISA names it, PODIUM_VECTOR_BYTES is its vectors' size, and PODIUM_DOT_…
// says how four products of bytes are added up (VNNI: one instruction; MADD: in 16 bits, which cannot saturate; PLAIN).

#include "kernels.h"
#include "simd.h"

#include "activations.ipp"
#include "linear.ipp"
#include "rows.ipp"
#include "attention.ipp"

namespace podium {
namespace PODIUM_ISA {

#define PODIUM_NAME_(x) #x
#define PODIUM_NAME(x) PODIUM_NAME_(x)

extern const Kernels kernels;
const Kernels kernels = {PODIUM_NAME(PODIUM_ISA), linear_f32, linear_i8, quantise, norm, activate, gate,
                         attend, rotate, widen, add, dot};

}  // namespace PODIUM_ISA
}  // namespace podium

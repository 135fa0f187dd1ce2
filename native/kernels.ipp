// All kernels of one instruction set. The file that includes this one defines
//   PODIUM_ISA           its name, also the namespace
//   PODIUM_VECTOR_BYTES  the size of its vectors: 64, 32 or 16
//   PODIUM_DOT_…         how int8 products are summed: VNNI (one instruction) or MADD (widened to 16 bits) on x86; USMMLA (two rows
//                        by two outputs), SDOT (one instruction) or SMULL (widened to 16 bits) on ARM; PLAIN (plain C++)

#include "kernels.h"
#include "simd.h"

#include "activations.ipp"
#include "linear.ipp"
#include "rows.ipp"
#include "attention.ipp"
#include "attention_i8.ipp"
#include "disentangled.ipp"
#include "matches.ipp"

namespace podium::PODIUM_ISA {

#define PODIUM_NAME_(x) #x
#define PODIUM_NAME(x) PODIUM_NAME_(x)

extern const Kernels kernels;
const Kernels kernels = {PODIUM_NAME(PODIUM_ISA), linear_f32, linear_half, linear_i8, quantise,
                         quantise_wide, norm, rms_norm, activate, gate, attention_scratch, pack_head, attend_head,
                         disentangled_scratch, pack_distances, attend_disentangled, rotate, widen, add, dot,
                         highest_i8, highest_f32};

}  // namespace podium::PODIUM_ISA

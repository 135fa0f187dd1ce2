// Chooses among the compiled instruction sets those that this processor supports.

#include "kernels.h"

#include "cpu.h"

namespace podium {

namespace portable { extern const Kernels kernels; }
#if defined(PODIUM_X86)
namespace avx2 { extern const Kernels kernels; }
namespace avxvnni { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
namespace avx512vnni { extern const Kernels kernels; }
#elif defined(PODIUM_ARM64)
namespace neon { extern const Kernels kernels; }
namespace neondot { extern const Kernels kernels; }
namespace neoni8mm { extern const Kernels kernels; }
#endif

const std::vector<const Kernels*>& available_kernels() {
    static const std::vector<const Kernels*> available = [] {
        std::vector<const Kernels*> sets;
#if defined(PODIUM_X86)
        if (cpu().avx512vnni) sets.push_back(&avx512vnni::kernels);
        if (cpu().avx512) sets.push_back(&avx512::kernels);
        if (cpu().avxvnni) sets.push_back(&avxvnni::kernels);
        if (cpu().avx2) sets.push_back(&avx2::kernels);
#elif defined(PODIUM_ARM64)
        if (cpu().neoni8mm) sets.push_back(&neoni8mm::kernels);
        if (cpu().neondot) sets.push_back(&neondot::kernels);
        sets.push_back(&neon::kernels);
#endif
        sets.push_back(&portable::kernels);
        return sets;
    }();
    return available;
}

}  // namespace podium

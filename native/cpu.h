// The instruction sets of this processor, detected at run time.
#pragma once

namespace podium {

struct Cpu {
    bool avx2 = false;         // with FMA and F16C
    bool avxvnni = false;      // VPDPBUSD on 256 bits
    bool avx512 = false;       // F, BW, DQ and VL
    bool avx512vnni = false;   // VPDPBUSD on 512 bits
    bool neondot = false;      // SDOT
    bool neoni8mm = false;     // USMMLA, with SDOT
};

const Cpu& cpu();

}  // namespace podium

// Activation functions on vectors, and the kernel `activate`. Part of kernels.ipp.

namespace podium::PODIUM_ISA {
namespace {

// e^x, computed as 2^(x log2 e). The exponent is clamped to -126 … 127, so that the result is a normal float32.
inline Floats exponential(Floats x) {
    return power_of_two(minimum(maximum(x * LOG2_E, broadcast(-126.0f)), broadcast(127.0f)));
}

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(-x)); }

inline Floats hyperbolic_tangent(Floats x) { return 1.0f - 2.0f / (exponential(x + x) + 1.0f); }

// x * Phi(x), where Phi is the cumulative normal distribution, with an absolute error of at most 2.2e-7 * |x|. Phi(x) - 0.5 is
// computed as x times a rational function of x^2, fitted for |x| <= 5.4. Above 5.4, Phi(5.4), which is nearly 1, stands for
// Phi(x). Below -5.4, gelu(-5.4), which is nearly 0, stands for gelu(x).
inline Floats gelu(Floats x) {
    const Floats clamped = minimum(maximum(x, broadcast(-5.4f)), broadcast(5.4f));
    const Floats square = clamped * clamped;
    Floats numerator = square * 2.2790363374269873e-08f + 6.4771106735861395e-06f;
    numerator = numerator * square + 0.00017546257004141808f;
    numerator = numerator * square + 0.004717743024230003f;
    numerator = numerator * square + 0.03442083299160004f;
    numerator = numerator * square + 0.39894211292266846f;
    Floats denominator = square * 1.2080298574801418e-06f + 7.620644464623183e-05f;
    denominator = denominator * square + 0.001921161194331944f;
    denominator = denominator * square + 0.028986185789108276f;
    denominator = denominator * square + 0.25294482707977295f;
    denominator = denominator * square + 1.0f;
    return maximum(x, broadcast(-5.4f)) * (clamped * numerator / denominator + 0.5f);
}

inline Floats gelu_tanh(Floats x) {
    return 0.5f * x * (1.0f + hyperbolic_tangent(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

Floats apply_activation(Floats x, Activation activation) {
    switch (activation) {
        case Activation::gelu: return gelu(x);
        case Activation::gelu_tanh: return gelu_tanh(x);
        case Activation::relu: return maximum(x, broadcast(0.0f));
        case Activation::tanh: return hyperbolic_tangent(x);
        case Activation::sigmoid: return sigmoid(x);
        case Activation::silu: return x * sigmoid(x);
        case Activation::none: break;
    }
    return x;
}

void activate(const float* x, std::size_t count, Activation activation, float* y) {
    std::size_t i = 0;
    for (; i + LANES <= count; i += LANES) store(y + i, apply_activation(load(x + i), activation));
    if (i < count) store_partial(y + i, apply_activation(load_partial(x + i, count - i), activation), count - i);
}

}  // namespace
}  // namespace podium::PODIUM_ISA

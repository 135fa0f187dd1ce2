namespace podium {
namespace PODIUM_ISA {
namespace {

// x times the normal distribution's share below x, to 2.2e-7 of x: a rational function fitted to it on -5.4 … 5.4. Below,
// where it is 0 to 2e-7, x goes no further.
static inline Floats gelu(Floats x) {
    const Floats near = smaller(larger(x, all(-5.4f)), all(5.4f));
    const Floats s = near * near;
    Floats above = s * 2.2790363374269873e-08f + 6.4771106735861395e-06f;
    above = above * s + 0.00017546257004141808f;
    above = above * s + 0.004717743024230003f;
    above = above * s + 0.03442083299160004f;
    above = above * s + 0.39894211292266846f;
    Floats below = s * 1.2080298574801418e-06f + 7.620644464623183e-05f;
    below = below * s + 0.001921161194331944f;
    below = below * s + 0.028986185789108276f;
    below = below * s + 0.25294482707977295f;
    below = below * s + 1.0f;
    return larger(x, all(-5.4f)) * (near * above / below + 0.5f);
}

static inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(-x)); }

static inline Floats hyperbolic_tangent(Floats x) { return 1.0f - 2.0f / (exponential(x + x) + 1.0f); }

static inline Floats gelu_tanh(Floats x) {
    return 0.5f * x * (1.0f + hyperbolic_tangent(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}


Floats activated(Floats x, Activation activation) {
    switch (activation) {
        case Activation::gelu: return gelu(x);
        case Activation::gelu_tanh: return gelu_tanh(x);
        case Activation::relu: return larger(x, all(0.0f));
        case Activation::tanh: return hyperbolic_tangent(x);
        case Activation::sigmoid: return sigmoid(x);
        case Activation::silu: return x * sigmoid(x);
        case Activation::none: break;
    }
    return x;
}

void activate(const float* x, std::size_t count, Activation activation, float* y) {
    std::size_t at = 0;
    for (; at + LANES <= count; at += LANES) store(y + at, activated(load(x + at), activation));
    if (at < count) store_part(y + at, activated(load_part(x + at, count - at), activation), count - at);
}

}  // namespace
}  // namespace PODIUM_ISA
}  // namespace podium

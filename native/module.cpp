// podium._native: the network and its kernels, for Python. Everything is checked here that C++ could not survive.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu.h"
#include "network.h"

namespace nb = nanobind;
using namespace podium;

namespace {

template <class T>
using Row = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Seconds = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using AnyMatrix = nb::ndarray<nb::ndim<2>, nb::c_contig, nb::device::cpu, nb::ro>;
using Packed = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using PackedWhole = nb::ndarray<const std::int8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

void expect(bool holds, const char* otherwise) {
    if (!holds) throw std::invalid_argument(otherwise);
}

const Kernels& kernels_named(const std::optional<std::string>& name) {
    if (!name) return *available_kernels().front();
    for (const Kernels* each : available_kernels())
        if (*name == each->name) return *each;
    throw std::invalid_argument("this processor or build has no kernels named " + *name);
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Kernels* each : available_kernels()) names.emplace_back(each->name);
    return names;
}

Activation activation_named(const std::string& name) {
    static const std::pair<const char*, Activation> known[] = {
        {"none", Activation::none}, {"gelu", Activation::gelu},       {"gelu_tanh", Activation::gelu_tanh},
        {"relu", Activation::relu}, {"tanh", Activation::tanh},       {"sigmoid", Activation::sigmoid},
        {"silu", Activation::silu},
    };
    for (const auto& [each, activation] : known)
        if (name == each) return activation;
    throw std::invalid_argument("no activation is named " + name);
}

Positions positions_named(const std::string& name) {
    if (name == "counted") return Positions::counted;
    if (name == "counted_by_side") return Positions::counted_by_side;
    if (name == "after_padding") return Positions::after_padding;
    throw std::invalid_argument("no positions are named " + name);
}

Table table_of(const AnyMatrix& rows) {
    const bool half = rows.dtype() == nb::dlpack::dtype{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
    expect(half || rows.dtype() == nb::dtype<float>(), "a table of embeddings is float32 or float16");
    return {rows.data(), rows.shape(0), rows.shape(1), half};
}

std::size_t panels(std::size_t outputs) { return (outputs + PANEL - 1) / PANEL; }

LinearWeights weights_of(const Packed& packed, std::size_t outputs) {
    expect(outputs && packed.shape(0) == panels(outputs) && packed.shape(1) && packed.shape(2) == PANEL,
           "packed weights have shape (outputs/64, inputs, 64)");
    LinearWeights weights{packed.shape(1), outputs};
    weights.packed = packed.data();
    return weights;
}

LinearWeights weights_of(const PackedWhole& packed, const Row<float>& scales, const Row<std::int32_t>& sums,
                         std::size_t inputs, std::size_t outputs) {
    expect(outputs && inputs && packed.shape(0) == panels(outputs) && packed.shape(1) == (inputs + 3) / 4 &&
               packed.shape(2) == PANEL && packed.shape(3) == 4,
           "packed int8 weights have shape (outputs/64, inputs/4, 64, 4)");
    expect(scales.shape(0) == PANEL * panels(outputs) && sums.shape(0) == scales.shape(0),
           "scales and sums are filled up to whole panels of 64");
    LinearWeights weights{inputs, outputs};
    weights.whole = {packed.data(), scales.data(), sums.data()};
    return weights;
}

const float* bias_of(const std::optional<Row<float>>& bias, std::size_t outputs) {
    if (!bias) return nullptr;
    expect(bias->shape(0) == outputs, "a bias has one number for each output");
    return bias->data();
}

// A Network that holds on to the arrays it reads from.
class Net {
  public:
    explicit Net(const std::optional<std::string>& instruction_set)
        : kernels_(kernels_named(instruction_set)), network_(kernels_) {}

    std::string instruction_set() const { return kernels_.name; }

    int embed(const AnyMatrix& words, const std::optional<AnyMatrix>& segments, bool by_segment,
              const std::optional<AnyMatrix>& places, const std::string& positions, std::int32_t padding) {
        Embedding embedding{table_of(words)};
        if (segments) embedding.segments = table_of(*segments);
        embedding.by_segment = by_segment;
        if (places) {
            embedding.places = table_of(*places);
            embedding.positions = positions_named(positions);
        }
        expect(padding >= 0, "a padding id is not negative");
        embedding.padding = padding;
        keep(words, segments, places);
        return network_.embed(embedding);
    }

    int norm(int x, const Row<float>& weight, const std::optional<Row<float>>& bias, float epsilon) {
        expect(weight.shape(0) == network_.width(x), "a norm has one weight for each column");
        keep(weight, bias);
        return network_.norm(x, weight.data(), bias_of(bias, weight.shape(0)), epsilon);
    }

    int linear(int x, const Packed& packed, std::size_t outputs, const std::optional<Row<float>>& bias,
               const std::string& activation, int added) {
        LinearWeights weights = weights_of(packed, outputs);
        weights.bias = bias_of(bias, outputs);
        keep(packed, bias);
        return network_.linear(x, weights, activation_named(activation), added);
    }

    int linear_int8(int x, const PackedWhole& packed, const Row<float>& scales, const Row<std::int32_t>& sums,
                    std::size_t outputs, const std::optional<Row<float>>& bias, const std::string& activation, int added) {
        LinearWeights weights = weights_of(packed, scales, sums, network_.width(x), outputs);
        weights.bias = bias_of(bias, outputs);
        keep(packed, scales, sums, bias);
        return network_.linear(x, weights, activation_named(activation), added);
    }

    int attend(int queries, std::size_t query_column, int keys, std::size_t key_column, std::size_t value_column,
               std::size_t heads, std::size_t size, float scale, std::size_t window, bool by_side,
               const std::optional<Matrix<float>>& cos, const std::optional<Matrix<float>>& sin) {
        Attention attention{{heads, size, scale, window}};
        attention.by_side = by_side;
        if (cos && sin) {
            expect(cos->shape(1) == size / 2 && sin->shape(1) == size / 2 && cos->shape(0) == sin->shape(0),
                   "rotations have half a head's columns");
            attention.cos = cos->data();
            attention.sin = sin->data();
            attention.rotations = cos->shape(0);
        }
        keep(cos, sin);
        return network_.attend(queries, query_column, keys, key_column, value_column, attention);
    }

    int activate(int x, const std::string& activation) { return network_.activate(x, activation_named(activation)); }
    int gate(int x, const std::string& activation) { return network_.gate(x, activation_named(activation)); }
    int add(int x, int y) { return network_.add(x, y); }
    int first(int x) { return network_.first(x); }
    int mean(int x) { return network_.mean(x); }
    std::size_t width(int x) const { return network_.width(x); }

    int compare(int x, const Row<float>& importance, float importance_bias, const Row<float>& token_importance,
                const Row<float>& token_idf, const Row<float>& token_piece_idf, const Row<float>& token_stem, float k1,
                float b, float usual_tokens) {
        const std::size_t vocabulary = token_importance.shape(0);
        expect(importance.shape(0) == network_.width(x), "importance has one weight for each column");
        expect(token_idf.shape(0) == vocabulary && token_piece_idf.shape(0) == vocabulary && token_stem.shape(0) == vocabulary,
               "the tables of tokens differ in size");
        keep(importance, token_importance, token_idf, token_piece_idf, token_stem);
        return network_.compare(x, {importance.data(), importance_bias, token_importance.data(), token_idf.data(),
                                    token_piece_idf.data(), token_stem.data(), vocabulary, k1, b, usual_tokens});
    }

    void finish(int result) {
        network_.finish(result);
        outputs_ = network_.width(result);
    }

    std::vector<std::string> step_names() const {
        const auto names = network_.step_names();
        return {names.begin(), names.end()};
    }

    void run(const Row<std::int32_t>& ids, const Row<std::int32_t>& segments, const Row<std::int64_t>& offsets,
             const Out& result, const std::optional<Seconds>& seconds) const {
        expect(outputs_, "the network is not finished");
        expect(offsets.shape(0) >= 1 && offsets(0) == 0, "offsets begin with 0");
        const std::size_t count = offsets.shape(0) - 1;
        for (std::size_t text = 0; text < count; ++text) expect(offsets(text + 1) > offsets(text), "a text has no tokens");
        expect(static_cast<std::size_t>(offsets(count)) == ids.shape(0) && segments.shape(0) == ids.shape(0),
               "offsets end with the number of tokens, and each token has a segment");
        expect(result.shape(0) == count && result.shape(1) == outputs_, "the result has one row for each text");
        const Texts texts{ids.data(), segments.data(), offsets.data(), count};
        expect(!seconds || seconds->shape(0) == network_.step_names().size(), "seconds has one number for each step");
        float* to = result.data();
        double* timed = seconds ? seconds->data() : nullptr;
        const nb::gil_scoped_release released;
        network_.run(texts, to, timed);
    }

  private:
    template <class... Arrays>
    void keep(const Arrays&... arrays) {
        (keep_one(arrays), ...);
    }
    template <class Array>
    void keep_one(const Array& array) { kept_.emplace_back(array); }
    template <class Array>
    void keep_one(const std::optional<Array>& array) {
        if (array) kept_.emplace_back(*array);
    }

    const Kernels& kernels_;
    Network network_;
    std::vector<nb::ndarray<nb::ro>> kept_;
    std::size_t outputs_ = 0;
};

// ---- single kernels, for tests and benchmarks ----

void multiply(const Matrix<float>& x, const Packed& packed, const Out& y, const std::optional<Row<float>>& bias,
              const std::string& activation, const std::optional<Matrix<float>>& added, const std::string& set) {
    const LinearWeights weights = weights_of(packed, y.shape(1));
    expect(x.shape(0) == y.shape(0) && x.shape(1) == weights.inputs, "x and y do not fit the weights");
    expect(!added || (added->shape(0) == y.shape(0) && added->shape(1) == y.shape(1)), "what is added has another shape");
    const Epilogue epilogue{bias_of(bias, y.shape(1)), activation_named(activation), added ? added->data() : nullptr,
                            y.shape(1)};
    const Kernels& kernels = kernels_named(set);
    const nb::gil_scoped_release released;
    kernels.linear_f32(x.data(), x.shape(1), x.shape(0), x.shape(1), weights.packed, y.shape(1), epilogue, y.data(),
                       y.shape(1));
}

void multiply_int8(const Matrix<float>& x, const PackedWhole& packed, const Row<float>& scales, const Row<std::int32_t>& sums,
                   const Out& y, const std::string& set) {
    const LinearWeights weights = weights_of(packed, scales, sums, x.shape(1), y.shape(1));
    expect(x.shape(0) == y.shape(0), "x and y do not fit the weights");
    const Kernels& kernels = kernels_named(set);
    const std::size_t rows = x.shape(0), stride = (x.shape(1) + 3) / 4 * 4;
    const nb::gil_scoped_release released;
    std::vector<std::uint8_t> whole(rows * stride);
    std::vector<float> row_scales(rows);
    std::vector<std::int32_t> zeros(rows);
    kernels.quantise(x.data(), rows, x.shape(1), whole.data(), stride, row_scales.data(), zeros.data());
    kernels.linear_i8({whole.data(), stride, row_scales.data(), zeros.data()}, rows, x.shape(1), weights.whole, y.shape(1), {},
                      y.data(), y.shape(1));
}

void attend(const Matrix<float>& qkv, const Out& y, std::size_t heads, float scale, std::size_t window,
            const std::string& set) {
    expect(heads && y.shape(1) % heads == 0 && qkv.shape(1) == 3 * y.shape(1) && qkv.shape(0) >= y.shape(0) && qkv.shape(0),
           "qkv has three times y's columns");
    const std::size_t width = y.shape(1);
    const Kernels& kernels = kernels_named(set);
    const nb::gil_scoped_release released;
    std::vector<float> scratch;
    kernels.attend({heads, width / heads, scale, window}, qkv.data(), 3 * width, y.shape(0), qkv.data() + width,
                   qkv.data() + 2 * width, 3 * width, qkv.shape(0), scratch, y.data(), width);
}

void normalise(const Matrix<float>& x, const Row<float>& weight, const std::optional<Row<float>>& bias, float epsilon,
               const Out& y, const std::string& set) {
    expect(x.shape(0) == y.shape(0) && x.shape(1) == y.shape(1) && weight.shape(0) == x.shape(1), "x, y and weight differ");
    kernels_named(set).norm(x.data(), x.shape(0), x.shape(1), weight.data(), bias_of(bias, x.shape(1)), epsilon, y.data());
}

void activate(const Matrix<float>& x, const std::string& activation, const Out& y, const std::string& set) {
    expect(x.shape(0) == y.shape(0) && x.shape(1) == y.shape(1), "x and y differ");
    kernels_named(set).activate(x.data(), x.shape(0) * x.shape(1), activation_named(activation), y.data());
}

void widen(const Row<std::uint16_t>& halves, const nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>& y,
           const std::string& set) {
    expect(halves.shape(0) == y.shape(0), "halves and y differ");
    kernels_named(set).widen(halves.data(), halves.shape(0), y.data());
}

}  // namespace

NB_MODULE(_native, m) {
    // A daemon thread may hold a model when the interpreter ends: that is not an error to report to the user.
    nb::set_leak_warnings(false);

    m.attr("PANEL") = PANEL;
    m.def("instruction_sets", instruction_sets);

    nb::class_<Net>(m, "Network")
        .def(nb::init<const std::optional<std::string>&>(), nb::arg("instruction_set") = nb::none())
        .def_prop_ro("instruction_set", &Net::instruction_set)
        .def("embed", &Net::embed, nb::arg("words"), nb::arg("segments").none(), nb::arg("by_segment"),
             nb::arg("places").none(), nb::arg("positions"), nb::arg("padding"))
        .def("norm", &Net::norm, nb::arg("x"), nb::arg("weight"), nb::arg("bias").none(), nb::arg("epsilon"))
        .def("linear", &Net::linear, nb::arg("x"), nb::arg("packed"), nb::arg("outputs"), nb::arg("bias").none(),
             nb::arg("activation") = "none", nb::arg("added") = -1)
        .def("linear_int8", &Net::linear_int8, nb::arg("x"), nb::arg("packed"), nb::arg("scales"), nb::arg("sums"),
             nb::arg("outputs"), nb::arg("bias").none(), nb::arg("activation") = "none", nb::arg("added") = -1)
        .def("attend", &Net::attend, nb::arg("queries"), nb::arg("query_column"), nb::arg("keys"), nb::arg("key_column"),
             nb::arg("value_column"), nb::arg("heads"), nb::arg("size"), nb::arg("scale"), nb::arg("window") = 0,
             nb::arg("by_side") = false, nb::arg("cos") = nb::none(), nb::arg("sin") = nb::none())
        .def("activate", &Net::activate, nb::arg("x"), nb::arg("activation"))
        .def("gate", &Net::gate, nb::arg("x"), nb::arg("activation"))
        .def("add", &Net::add, nb::arg("x"), nb::arg("y"))
        .def("first", &Net::first, nb::arg("x"))
        .def("mean", &Net::mean, nb::arg("x"))
        .def("compare", &Net::compare, nb::arg("x"), nb::arg("importance"), nb::arg("importance_bias"),
             nb::arg("token_importance"), nb::arg("token_idf"), nb::arg("token_piece_idf"), nb::arg("token_stem"),
             nb::arg("k1"), nb::arg("b"), nb::arg("usual_tokens"))
        .def("width", &Net::width, nb::arg("x"))
        .def("finish", &Net::finish, nb::arg("result"))
        .def("run", &Net::run, nb::arg("ids"), nb::arg("segments"), nb::arg("offsets"), nb::arg("result"),
             nb::arg("seconds") = nb::none())
        .def("step_names", &Net::step_names);

    m.def("multiply", multiply, nb::arg("x"), nb::arg("packed"), nb::arg("y"), nb::arg("bias").none(), nb::arg("activation"),
          nb::arg("added").none(), nb::arg("instruction_set"));
    m.def("multiply_int8", multiply_int8, nb::arg("x"), nb::arg("packed"), nb::arg("scales"), nb::arg("sums"), nb::arg("y"),
          nb::arg("instruction_set"));
    m.def("attend", attend, nb::arg("qkv"), nb::arg("y"), nb::arg("heads"), nb::arg("scale"), nb::arg("window"),
          nb::arg("instruction_set"));
    m.def("normalise", normalise, nb::arg("x"), nb::arg("weight"), nb::arg("bias").none(), nb::arg("epsilon"), nb::arg("y"),
          nb::arg("instruction_set"));
    m.def("activate", activate, nb::arg("x"), nb::arg("activation"), nb::arg("y"), nb::arg("instruction_set"));
    m.def("widen", widen, nb::arg("halves"), nb::arg("y"), nb::arg("instruction_set"));
}

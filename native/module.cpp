// The Python module podium._native: networks, comparisons of encodings, and single kernels for tests and benchmarks.
//
// The arguments come from Python, so everything that could make C++ read or write out of bounds is checked here, in the
// methods of Network that add steps, or, for token ids and lengths, by the steps. Arrays that are written to, and the tokens
// of a run, are not converted to another dtype or layout: results would go to a temporary copy, and large ids would wrap.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "comparison.h"
#include "network.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace podium;

namespace {

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using MutableVector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using MutableMatrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using AnyMatrix = nb::ndarray<nb::ndim<2>, nb::c_contig, nb::device::cpu, nb::ro>;
using PackedFloat32 = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using PackedInt8 = nb::ndarray<const std::int8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

void check(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

const Kernels& kernels_named(const std::optional<std::string>& name) {
    if (!name) return *available_kernels().front();
    for (const Kernels* kernels : available_kernels())
        if (*name == kernels->name) return *kernels;
    throw std::invalid_argument("this processor or build does not support the instruction set " + *name);
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Kernels* kernels : available_kernels()) names.emplace_back(kernels->name);
    return names;
}

Activation activation_named(const std::string& name) {
    static const std::pair<const char*, Activation> activations[] = {
        {"none", Activation::none}, {"gelu", Activation::gelu}, {"gelu_tanh", Activation::gelu_tanh},
        {"relu", Activation::relu}, {"tanh", Activation::tanh}, {"sigmoid", Activation::sigmoid},
        {"silu", Activation::silu},
    };
    for (const auto& [known_name, activation] : activations)
        if (name == known_name) return activation;
    throw std::invalid_argument("unknown activation: " + name);
}

PositionKind position_kind_named(const std::string& name) {
    if (name == "counted") return PositionKind::counted;
    if (name == "after_padding") return PositionKind::after_padding;
    throw std::invalid_argument("unknown kind of positions: " + name);
}

Table table_of(const AnyMatrix& rows) {
    const nb::dlpack::dtype float16{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
    const bool is_float16 = rows.dtype() == float16;
    check(is_float16 || rows.dtype() == nb::dtype<float>(), "an embedding table must be float32 or float16");
    return {rows.data(), rows.shape(0), rows.shape(1), is_float16};
}

// Not (outputs + PANEL - 1) / PANEL, which overflows.
std::size_t panels(std::size_t outputs) { return outputs / PANEL + (outputs % PANEL != 0); }

LinearWeights weights_of(const PackedFloat32& packed, std::size_t outputs) {
    check(outputs && packed.shape(0) == panels(outputs) && packed.shape(1) && packed.shape(2) == PANEL,
          "packed weights must have shape (outputs/64, inputs, 64)");
    LinearWeights weights{packed.shape(1), outputs};
    weights.packed_f32 = packed.data();
    return weights;
}

LinearWeights weights_of(const PackedInt8& packed, const Vector<float>& scales, const Vector<std::int32_t>& sums,
                         std::size_t inputs, std::size_t outputs) {
    check(inputs <= MAX_INT8_INPUTS, "int8 weights can have at most 65,000 inputs");
    check(outputs && inputs && packed.shape(0) == panels(outputs) && packed.shape(1) == (inputs + 3) / 4 &&
              packed.shape(2) == PANEL && packed.shape(3) == 4,
          "packed int8 weights must have shape (outputs/64, inputs/4, 64, 4)");
    check(scales.shape(0) == PANEL * panels(outputs) && sums.shape(0) == scales.shape(0),
          "scales and sums must have one number per output of a panel");
    LinearWeights weights{inputs, outputs};
    weights.int8 = {packed.data(), scales.data(), sums.data()};
    return weights;
}

const float* bias_of(const std::optional<Vector<float>>& bias, std::size_t outputs) {
    if (!bias) return nullptr;
    check(bias->shape(0) == outputs, "a bias must have one number per output");
    return bias->data();
}

// A Network together with the arrays that its steps read.
class PyNetwork {
  public:
    explicit PyNetwork(const std::optional<std::string>& instruction_set)
        : kernels_(kernels_named(instruction_set)), network_(kernels_) {}

    std::string instruction_set() const { return kernels_.name; }

    int embed(const AnyMatrix& tokens, const std::optional<AnyMatrix>& segments, bool use_segment_ids,
              const std::optional<AnyMatrix>& positions, const std::string& position_kind, std::int32_t padding_id) {
        Embedding embedding{table_of(tokens)};
        if (segments) embedding.segments = table_of(*segments);
        embedding.use_segment_ids = use_segment_ids;
        if (positions) {
            embedding.positions = table_of(*positions);
            embedding.position_kind = position_kind_named(position_kind);
        }
        check(padding_id >= 0, "the padding id must not be negative");
        embedding.padding_id = padding_id;
        hold(tokens, segments, positions);
        return network_.embed(embedding);
    }

    int norm(int input, const Vector<float>& weight, const std::optional<Vector<float>>& bias, float epsilon) {
        check(weight.shape(0) == network_.width(input), "a norm must have one weight per column");
        hold(weight, bias);
        return network_.norm(input, weight.data(), bias_of(bias, weight.shape(0)), epsilon);
    }

    int linear(int input, const PackedFloat32& packed, std::size_t outputs, const std::optional<Vector<float>>& bias,
               const std::string& activation, int residual) {
        LinearWeights weights = weights_of(packed, outputs);
        weights.bias = bias_of(bias, outputs);
        hold(packed, bias);
        return network_.linear(input, weights, activation_named(activation), residual);
    }

    int linear_int8(int input, const PackedInt8& packed, const Vector<float>& scales, const Vector<std::int32_t>& sums,
                    std::size_t outputs, const std::optional<Vector<float>>& bias, const std::string& activation,
                    int residual) {
        LinearWeights weights = weights_of(packed, scales, sums, network_.width(input), outputs);
        weights.bias = bias_of(bias, outputs);
        hold(packed, scales, sums, bias);
        return network_.linear(input, weights, activation_named(activation), residual);
    }

    int attend(int queries, std::size_t query_column, int keys, std::size_t key_column, std::size_t value_column,
               std::size_t heads, std::size_t head_size, float scale, std::size_t window, bool hides_segment_1,
               const std::optional<Matrix<float>>& cos, const std::optional<Matrix<float>>& sin) {
        Attention attention{{heads, head_size, scale, window}};
        attention.hides_segment_1 = hides_segment_1;
        check(cos.has_value() == sin.has_value(), "rotary positions need both cos and sin");
        if (cos) {
            check(cos->shape(1) == head_size / 2 && sin->shape(1) == head_size / 2 && cos->shape(0) == sin->shape(0),
                  "cos and sin must have shape (positions, head size / 2)");
            attention.cos = cos->data();
            attention.sin = sin->data();
            attention.rotary_positions = cos->shape(0);
        }
        hold(cos, sin);
        return network_.attend(queries, query_column, keys, key_column, value_column, attention);
    }

    int activate(int input, const std::string& activation) { return network_.activate(input, activation_named(activation)); }
    int gate(int input, const std::string& activation) { return network_.gate(input, activation_named(activation)); }
    int add(int left, int right) { return network_.add(left, right); }
    int first(int input) { return network_.first(input); }
    int mean(int input) { return network_.mean(input); }
    int join(const std::vector<int>& inputs) { return network_.join(inputs); }
    std::size_t width(int slot) const { return network_.width(slot); }
    bool per_text(int slot) const { return network_.per_text(slot); }

    void finish(int result) { network_.finish(result); }

    std::vector<std::string> step_names() const {
        const auto names = network_.step_names();
        return {names.begin(), names.end()};
    }

    void run(const Vector<std::int32_t>& ids, const Vector<std::int32_t>& segments, const Vector<std::int64_t>& offsets,
             const MutableMatrix& result, const std::optional<MutableVector<double>>& seconds) const {
        check(offsets.shape(0) >= 1 && offsets(0) == 0, "offsets must begin with 0");
        const std::size_t count = offsets.shape(0) - 1;
        for (std::size_t text = 0; text < count; ++text)
            check(offsets(text + 1) > offsets(text), "offsets must increase: every text needs at least one token");
        check(static_cast<std::size_t>(offsets(count)) == ids.shape(0) && segments.shape(0) == ids.shape(0),
              "offsets must end with the number of ids, and there must be one segment per id");
        check(!seconds || seconds->shape(0) == network_.step_names().size(), "seconds must have one number per step");
        const Texts texts{ids.data(), segments.data(), offsets.data(), count};
        check(result.shape(0) == network_.result_rows(texts) && result.shape(1) == network_.outputs(),
              "result must have one row per text or per token, as the network's result, and one column per output");
        const nb::gil_scoped_release released;
        network_.run(texts, result.data(), seconds ? seconds->data() : nullptr);
    }

  private:
    template <class... Arrays>
    void hold(const Arrays&... arrays) {
        (hold_one(arrays), ...);
    }
    template <class Array>
    void hold_one(const Array& array) { arrays_.emplace_back(array); }
    template <class Array>
    void hold_one(const std::optional<Array>& array) {
        if (array) arrays_.emplace_back(*array);
    }

    const Kernels& kernels_;
    Network network_;
    std::vector<nb::ndarray<nb::ro>> arrays_;
};

// The bytes of Python objects, which stay in memory and unchanged in size as long as this lives.
// They are arrays because the stable ABI of Python 3.10 has no buffers.
class Bytes {
  public:
    explicit Bytes(const nb::sequence& objects) {
        const std::size_t count = nb::len(objects);
        arrays_.reserve(count);
        for (std::size_t i = 0; i < count; ++i) add(nb::object(objects[i]));
    }
    explicit Bytes(const nb::object& object) { add(object); }

    std::size_t count() const { return arrays_.size(); }
    Encoding encoding(std::size_t index) const { return read_encoding(arrays_[index].data(), arrays_[index].size()); }

  private:
    using Array = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

    void add(const nb::object& object) {
        Array array;
        if (!nb::try_cast(object, array, false)) throw nb::type_error("an encoding must be a bytes-like object of unsigned bytes");
        arrays_.push_back(std::move(array));
    }

    std::vector<Array> arrays_;
};

void py_max_sim(const nb::object& query, const nb::sequence& documents, const MutableMatrix& result,
                const std::optional<std::string>& instruction_set) {
    const Bytes query_bytes(query), document_bytes(documents);
    check(result.shape(0) == document_bytes.count() && result.shape(1) == 1, "result must have one row per document");
    const Kernels& kernels = kernels_named(instruction_set);
    const nb::gil_scoped_release released;
    Query prepared(kernels, query_bytes.encoding(0));
    for (std::size_t i = 0; i < document_bytes.count(); ++i) max_sim(prepared, document_bytes.encoding(i), result.data() + i);
}

void py_late_features(const nb::object& query, const nb::sequence& documents, const MutableMatrix& result,
                      const Vector<float>& token_idf, const Vector<float>& token_piece_idf, const Vector<float>& token_stem,
                      float k1, float b, float average_tokens, const std::optional<std::string>& instruction_set) {
    const Bytes query_bytes(query), document_bytes(documents);
    const std::size_t vocabulary = token_idf.shape(0);
    check(result.shape(0) == document_bytes.count() && result.shape(1) == 4,
          "result must have one row per document and four columns");
    check(token_piece_idf.shape(0) == vocabulary && token_stem.shape(0) == vocabulary,
          "the tables of tokens must have the same size");
    const Lexical lexical{token_idf.data(), token_piece_idf.data(), token_stem.data(), vocabulary, k1, b, average_tokens};
    const Kernels& kernels = kernels_named(instruction_set);
    const nb::gil_scoped_release released;
    Query prepared(kernels, query_bytes.encoding(0));
    LateFeatures features(prepared, lexical);
    for (std::size_t i = 0; i < document_bytes.count(); ++i)
        features.compare(document_bytes.encoding(i), result.data() + 4 * i);
}

// Single kernels. Their parameters are those of kernels.h; y receives the result.

void multiply(const Matrix<float>& x, const PackedFloat32& packed, const MutableMatrix& y,
              const std::optional<Vector<float>>& bias, const std::string& activation,
              const std::optional<Matrix<float>>& residual, const std::string& instruction_set) {
    const std::size_t rows = x.shape(0), inputs = x.shape(1), outputs = y.shape(1);
    const LinearWeights weights = weights_of(packed, outputs);
    check(y.shape(0) == rows && weights.inputs == inputs, "x and y must match the weights");
    check(!residual || (residual->shape(0) == rows && residual->shape(1) == outputs), "added must have the shape of y");
    const Epilogue epilogue{bias_of(bias, outputs), activation_named(activation), residual ? residual->data() : nullptr,
                            outputs};
    const Kernels& kernels = kernels_named(instruction_set);
    const nb::gil_scoped_release released;
    kernels.linear_f32(x.data(), inputs, rows, inputs, weights.packed_f32, outputs, epilogue, y.data(), outputs);
}

void multiply_int8(const Matrix<float>& x, const PackedInt8& packed, const Vector<float>& scales,
                   const Vector<std::int32_t>& sums, const MutableMatrix& y, const std::string& instruction_set) {
    const std::size_t rows = x.shape(0), inputs = x.shape(1), outputs = y.shape(1), stride = (inputs + 3) / 4 * 4;
    const LinearWeights weights = weights_of(packed, scales, sums, inputs, outputs);
    check(y.shape(0) == rows, "x and y must have the same number of rows");
    const Kernels& kernels = kernels_named(instruction_set);
    const nb::gil_scoped_release released;
    std::vector<std::uint8_t> values(rows * stride);
    std::vector<float> row_scales(rows);
    std::vector<std::int32_t> zero_points(rows);
    kernels.quantise(x.data(), rows, inputs, values.data(), stride, row_scales.data(), zero_points.data());
    const Int8Rows int8_rows{values.data(), stride, row_scales.data(), zero_points.data()};
    kernels.linear_i8(int8_rows, rows, inputs, weights.int8, outputs, {}, y.data(), outputs);
}

void attend(const Matrix<float>& qkv, const MutableMatrix& y, std::size_t heads, float scale, std::size_t window,
            const std::string& instruction_set) {
    const std::size_t queries = y.shape(0), width = y.shape(1), tokens = qkv.shape(0);
    check(heads && width % heads == 0 && qkv.shape(1) == 3 * width, "qkv must have three times as many columns as y");
    check(tokens && queries <= tokens, "y must not have more rows than qkv");
    const Kernels& kernels = kernels_named(instruction_set);
    const nb::gil_scoped_release released;
    const AttentionShape shape{heads, width / heads, scale, window};
    std::vector<float> scratch(kernels.attention_scratch(shape, tokens));
    kernels.attend(shape, qkv.data(), 3 * width, queries, qkv.data() + width, qkv.data() + 2 * width, 3 * width, tokens,
                   scratch.data(), y.data(), width);
}

void normalise(const Matrix<float>& x, const Vector<float>& weight, const std::optional<Vector<float>>& bias, float epsilon,
               const MutableMatrix& y, const std::string& instruction_set) {
    const std::size_t rows = x.shape(0), width = x.shape(1);
    check(y.shape(0) == rows && y.shape(1) == width && weight.shape(0) == width, "x, y and weight must have the same width");
    kernels_named(instruction_set).norm(x.data(), rows, width, weight.data(), bias_of(bias, width), epsilon, y.data());
}

void activate(const Matrix<float>& x, const std::string& activation, const MutableMatrix& y,
              const std::string& instruction_set) {
    check(x.shape(0) == y.shape(0) && x.shape(1) == y.shape(1), "x and y must have the same shape");
    kernels_named(instruction_set).activate(x.data(), x.shape(0) * x.shape(1), activation_named(activation), y.data());
}

void widen(const Vector<std::uint16_t>& halves, const MutableVector<float>& y, const std::string& instruction_set) {
    check(halves.shape(0) == y.shape(0), "halves and y must have the same size");
    kernels_named(instruction_set).widen(halves.data(), halves.shape(0), y.data());
}

}  // namespace

NB_MODULE(_native, m) {
    // A daemon thread may still hold a model when the interpreter exits; that is not worth a warning on stderr.
    nb::set_leak_warnings(false);

    m.attr("PANEL") = PANEL;
    m.def("instruction_sets", instruction_sets);

    nb::class_<PyNetwork>(m, "Network")
        .def(nb::init<const std::optional<std::string>&>(), "instruction_set"_a = nb::none())
        .def_prop_ro("instruction_set", &PyNetwork::instruction_set)
        .def("embed", &PyNetwork::embed, "words"_a, "segments"_a.none(), "by_segment"_a, "places"_a.none(), "positions"_a,
             "padding"_a)
        .def("norm", &PyNetwork::norm, "x"_a, "weight"_a, "bias"_a.none(), "epsilon"_a)
        .def("linear", &PyNetwork::linear, "x"_a, "packed"_a, "outputs"_a, "bias"_a.none(), "activation"_a = "none",
             "added"_a = -1)
        .def("linear_int8", &PyNetwork::linear_int8, "x"_a, "packed"_a, "scales"_a, "sums"_a, "outputs"_a, "bias"_a.none(),
             "activation"_a = "none", "added"_a = -1)
        .def("attend", &PyNetwork::attend, "queries"_a, "query_column"_a, "keys"_a, "key_column"_a, "value_column"_a,
             "heads"_a, "size"_a, "scale"_a, "window"_a = 0, "hides_segment_1"_a = false, "cos"_a = nb::none(),
             "sin"_a = nb::none())
        .def("activate", &PyNetwork::activate, "x"_a, "activation"_a)
        .def("gate", &PyNetwork::gate, "x"_a, "activation"_a)
        .def("add", &PyNetwork::add, "x"_a, "y"_a)
        .def("first", &PyNetwork::first, "x"_a)
        .def("mean", &PyNetwork::mean, "x"_a)
        .def("join", &PyNetwork::join, "inputs"_a)
        .def("width", &PyNetwork::width, "x"_a)
        .def("per_text", &PyNetwork::per_text, "x"_a)
        .def("finish", &PyNetwork::finish, "result"_a)
        .def("run", &PyNetwork::run, "ids"_a.noconvert(), "segments"_a.noconvert(), "offsets"_a.noconvert(),
             "result"_a.noconvert(), "seconds"_a.noconvert() = nb::none())
        .def("step_names", &PyNetwork::step_names);

    m.def("max_sim", py_max_sim, "query"_a, "documents"_a, "result"_a.noconvert(), "instruction_set"_a = nb::none());
    m.def("late_features", py_late_features, "query"_a, "documents"_a, "result"_a.noconvert(), "token_idf"_a,
          "token_piece_idf"_a, "token_stem"_a, "k1"_a, "b"_a, "average_tokens"_a, "instruction_set"_a = nb::none());

    m.def("multiply", multiply, "x"_a, "packed"_a, "y"_a.noconvert(), "bias"_a.none(), "activation"_a, "added"_a.none(),
          "instruction_set"_a);
    m.def("multiply_int8", multiply_int8, "x"_a, "packed"_a, "scales"_a, "sums"_a, "y"_a.noconvert(), "instruction_set"_a);
    m.def("attend", attend, "qkv"_a, "y"_a.noconvert(), "heads"_a, "scale"_a, "window"_a, "instruction_set"_a);
    m.def("normalise", normalise, "x"_a, "weight"_a, "bias"_a.none(), "epsilon"_a, "y"_a.noconvert(), "instruction_set"_a);
    m.def("activate", activate, "x"_a, "activation"_a, "y"_a.noconvert(), "instruction_set"_a);
    m.def("widen", widen, "halves"_a, "y"_a.noconvert(), "instruction_set"_a);
}

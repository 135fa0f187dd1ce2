// The Python module podium._native: networks, comparisons of encodings, and single kernels for tests and benchmarks.
//
// The arguments come from Python, so everything that could make C++ read or write out of bounds is checked here, in the
// methods of Network that add steps, or, for token ids and lengths, by the steps. Arrays that are written to, and the tokens
// of a run, are not converted to another dtype or layout: results would go to a temporary copy, and large ids would wrap.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "comparison.h"
#include "execution.h"
#include "network.h"
#include "unigram.h"

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
using AnyTable = std::pair<AnyMatrix, std::optional<AnyMatrix>>;  // the rows of an embedding table, and their scales
// The table of a RelativeTerm for all heads, and the columns of the distances.
using RelativeArrays = std::pair<nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>, Vector<std::int32_t>>;
using PackedFloats = nb::ndarray<nb::ndim<3>, nb::c_contig, nb::device::cpu, nb::ro>;
using PackedInt8 = nb::ndarray<const std::int8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

// Lets other threads run Python code until it goes out of scope.
//
// If the interpreter ends meanwhile, Python ends the thread with pthread_exit, which unwinds the stack. As nanobind's functions
// are noexcept, that would end the process with an error. So the thread sleeps until the process has ended.
class ReleasedGil {
  public:
    ReleasedGil() : state_(PyEval_SaveThread()) {}
    ReleasedGil(const ReleasedGil&) = delete;
    ReleasedGil& operator=(const ReleasedGil&) = delete;
    ~ReleasedGil() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }

  private:
    PyThreadState* state_;
};

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

bool is_float16(const nb::dlpack::dtype& dtype) {
    return dtype == nb::dlpack::dtype{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
}

// numpy has no bfloat16, so these numbers come as uint16.
NumberKind kind_of(const AnyMatrix& numbers) {
    if (numbers.dtype() == nb::dtype<float>()) return NumberKind::float32;
    if (is_float16(numbers.dtype())) return NumberKind::float16;
    if (numbers.dtype() == nb::dtype<std::uint16_t>()) return NumberKind::bfloat16;
    if (numbers.dtype() == nb::dtype<std::int8_t>()) return NumberKind::int8;
    check(numbers.dtype() == nb::dtype<std::uint8_t>(),
          "an embedding table must be float32, float16, bfloat16 as uint16, int8 or uint8");
    return NumberKind::int4;
}

bool is_float(NumberKind kind) { return kind != NumberKind::int8 && kind != NumberKind::int4; }

Table table_of(const AnyTable& arrays) {
    const auto& [rows, scales] = arrays;
    const NumberKind kind = kind_of(rows);
    check(is_float(kind) != scales.has_value(), "embedding tables of whole numbers have scales, and others have none");
    Table table{rows.data(), rows.shape(0), rows.shape(1) * (kind == NumberKind::int4 ? 2 : 1), kind};
    if (!scales) return table;
    table.scales = scales->data();
    table.scale_kind = kind_of(*scales);
    table.blocks = scales->shape(1);
    check(table.scale_kind == NumberKind::float32 || table.scale_kind == NumberKind::float16,
          "scales must be float32 or float16");
    check(scales->shape(0) == table.count && table.blocks && table.width % table.blocks == 0,
          "scales must have one row per row of the table, and their number must divide the table's width");
    return table;
}

// Not (outputs + PANEL - 1) / PANEL, which overflows.
std::size_t panels(std::size_t outputs) { return outputs / PANEL + (outputs % PANEL != 0); }

LinearWeights weights_of(const PackedFloats& packed, std::size_t outputs) {
    check(outputs && packed.shape(0) == panels(outputs) && packed.shape(1) && packed.shape(2) == PANEL,
          "packed weights must have shape (outputs/64, inputs, 64)");
    LinearWeights weights{packed.shape(1), outputs};
    const bool is_bfloat16 = packed.dtype() == nb::dtype<std::uint16_t>();
    check(is_bfloat16 || is_float16(packed.dtype()) || packed.dtype() == nb::dtype<float>(),
          "packed weights must be float32, float16, or bfloat16 as uint16");
    if (packed.dtype() == nb::dtype<float>()) {
        weights.packed_f32 = static_cast<const float*>(packed.data());
    } else {
        weights.packed_half = static_cast<const std::uint16_t*>(packed.data());
        weights.half = is_bfloat16 ? Half::bfloat16 : Half::float16;
    }
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

    int embed(const AnyTable& tokens, const std::optional<AnyTable>& segments, bool use_segment_ids,
              const std::optional<AnyTable>& positions, const std::string& position_kind, std::int32_t padding_id) {
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

    int linear(int input, const PackedFloats& packed, std::size_t outputs, const std::optional<Vector<float>>& bias,
               const std::string& activation, int residual) {
        LinearWeights weights = weights_of(packed, outputs);
        weights.bias = bias_of(bias, outputs);
        hold(packed, bias);
        return network_.linear(input, weights, activation_named(activation), residual);
    }

    int linear_int8(int input, const PackedInt8& packed, const Vector<float>& scales, const Vector<std::int32_t>& sums,
                    std::size_t outputs, const std::optional<Vector<float>>& bias, const std::string& activation,
                    int residual, bool wide_inputs) {
        LinearWeights weights = weights_of(packed, scales, sums, network_.width(input), outputs);
        weights.wide_inputs = wide_inputs;
        weights.bias = bias_of(bias, outputs);
        hold(packed, scales, sums, bias);
        return network_.linear(input, weights, activation_named(activation), residual);
    }

    int transform_heads(int input, std::size_t column, std::size_t heads, std::size_t head_size,
                        const std::optional<Vector<float>>& weight, float epsilon, const std::optional<Matrix<float>>& cos,
                        const std::optional<Matrix<float>>& sin, bool last) {
        HeadTransform transform;
        check(!weight || weight->shape(0) == head_size, "the norm of a head must have one weight per column");
        if (weight) transform.weight = weight->data();
        transform.epsilon = epsilon;
        check(cos.has_value() == sin.has_value(), "rotary positions need both cos and sin");
        if (cos) {
            check(cos->shape(1) == head_size / 2 && sin->shape(1) == head_size / 2 && cos->shape(0) == sin->shape(0),
                  "cos and sin must have shape (positions, head size / 2)");
            transform.cos = cos->data();
            transform.sin = sin->data();
            transform.positions = cos->shape(0);
        }
        hold(weight, cos, sin);
        return network_.transform_heads(input, {column, heads, head_size}, transform, last);
    }

    int attend(int queries, std::size_t query_column, int keys, std::size_t key_column, std::size_t value_column,
               std::size_t heads, std::size_t head_size, float scale, std::size_t window, bool hides_segment_1,
               std::optional<std::size_t> key_heads, bool causal, bool int8) {
        return network_.attend(queries, keys,
                               {heads, key_heads.value_or(heads), head_size, query_column, key_column, value_column, scale,
                                window, causal, hides_segment_1, int8});
    }

    int attend_disentangled(int queries, std::size_t query_column, int keys, std::size_t key_column, std::size_t value_column,
                            std::size_t heads, std::size_t head_size, float scale, const std::optional<RelativeArrays>& falling,
                            const std::optional<RelativeArrays>& rising, bool hides_segment_1) {
        RelativePositions relative;
        for (const auto& [arrays, term] : {std::pair{&falling, &relative.terms.falling}, std::pair{&rising, &relative.terms.rising}}) {
            if (!*arrays) continue;
            const auto& [table, columns] = **arrays;
            check(table.shape(0) == heads && table.shape(1) == head_size,
                  "embeddings of relative positions must have shape (heads, head size, embeddings)");
            *term = {table.data(), table.shape(2), columns.data()};
            check(columns.shape(0) % 2 == 1, "columns must have one number per distance");
            const std::size_t positions = (columns.shape(0) + 1) / 2;
            check(!relative.terms.positions || relative.terms.positions == positions, "columns must have the same size");
            relative.terms.positions = positions;
            hold(table, columns);
        }
        return network_.attend_disentangled(queries, keys,
                                            {heads, heads, head_size, query_column, key_column, value_column, scale, 0, false,
                                             hides_segment_1},
                                            relative);
    }

    int scale(int input, float factor) { return network_.scale(input, factor); }

    int rms_norm(int input, const Vector<float>& weight, float epsilon) {
        check(weight.shape(0) == network_.width(input), "a norm must have one weight per column");
        hold(weight);
        return network_.rms_norm(input, weight.data(), epsilon);
    }

    int activate(int input, const std::string& activation) { return network_.activate(input, activation_named(activation)); }
    int gate(int input, const std::string& activation) { return network_.gate(input, activation_named(activation)); }
    int add(int left, int right) { return network_.add(left, right); }
    int first(int input) { return network_.first(input); }
    int last(int input) { return network_.last(input); }
    int mean(int input) { return network_.mean(input); }
    int join(const std::vector<int>& inputs) { return network_.join(inputs); }
    int neighbours(int input, std::size_t size) { return network_.neighbours(input, size); }
    std::size_t width(int slot) const { return network_.width(slot); }
    bool per_text(int slot) const { return network_.per_text(slot); }

    void finish(int result) { network_.finish(result); }

    std::vector<std::string> step_names() const {
        const auto names = network_.step_names();
        return {names.begin(), names.end()};
    }

    std::size_t prefix_columns() const { return network_.prefix_columns(); }

    void run(const Vector<std::int32_t>& ids, const Vector<std::int32_t>& segments, const Vector<std::int64_t>& offsets,
             const MutableMatrix& result, const std::optional<MutableVector<double>>& seconds) const {
        check(!seconds || seconds->shape(0) == network_.step_names().size(), "seconds must have one number per step");
        const Texts texts = checked_texts(ids, segments, offsets, result);
        const ReleasedGil released;
        network_.run(texts, result.data(), seconds ? seconds->data() : nullptr);
    }

    Texts checked_texts(const Vector<std::int32_t>& ids, const Vector<std::int32_t>& segments,
                        const Vector<std::int64_t>& offsets, const MutableMatrix& result) const {
        check(offsets.shape(0) >= 1 && offsets(0) == 0, "offsets must begin with 0");
        const std::size_t count = offsets.shape(0) - 1;
        for (std::size_t text = 0; text < count; ++text)
            check(offsets(text + 1) > offsets(text), "offsets must increase: every text needs at least one token");
        check(static_cast<std::size_t>(offsets(count)) == ids.shape(0) && segments.shape(0) == ids.shape(0),
              "offsets must end with the number of ids, and there must be one segment per id");
        const Texts texts{ids.data(), segments.data(), offsets.data(), count};
        check(result.shape(0) == network_.result_rows(texts) && result.shape(1) == network_.outputs(),
              "result must have one row per text or per token, as the network's result, and one column per output");
        return texts;
    }

    const Network& network() const { return network_; }

  private:
    template <class... Arrays>
    void hold(const Arrays&... arrays) {
        (hold_one(arrays), ...);
    }
    template <class Array>
    void hold_one(const Array& array) { arrays_.emplace_back(array); }
    template <class Array>
    void hold_one(const std::optional<Array>& array) {
        if (array) hold_one(*array);
    }
    void hold_one(const AnyTable& table) { hold(table.first, table.second); }

    const Kernels& kernels_;
    Network network_;
    std::vector<nb::ndarray<nb::ro>> arrays_;
};

// A flag that one thread sets for another.
class PyFlag {
  public:
    void set() { value_ = true; }
    const std::atomic<bool>& value() const { return value_; }

  private:
    std::atomic<bool> value_{false};
};

// What threads can compute together: a run over texts, or over a prefix.
class PyExecution {
  public:
    bool work(const PyFlag* leave) {
        const ReleasedGil released;
        return execution_->work(leave ? &leave->value() : nullptr);
    }
    void cancel() {
        const ReleasedGil released;
        execution_->cancel();
    }

  protected:
    std::unique_ptr<Execution> execution_;
};

class PyPrefix : public PyExecution {
  public:
    PyPrefix(const PyNetwork& network, const Vector<std::int32_t>& ids)
        : ids_(ids.data(), ids.data() + ids.shape(0)), offsets_{0, static_cast<std::int64_t>(ids.shape(0))},
          network_(network.network()), prefix_(ids.shape(0), network_.attention_columns().size()) {
        check(ids.shape(0), "a prefix needs at least one token");
        check(network.prefix_columns(), "only a network of causal attention steps can share a prefix");
        for (std::size_t i = 0; i < prefix_.layers.size(); ++i)
            prefix_.layers[i].reserve(ids.shape(0) * network_.attention_columns()[i]);
        execution_ = std::make_unique<Execution>(network_, Texts{ids_.data(), ids_.data(), offsets_.data(), 1}, prefix_);
    }
    std::size_t tokens() const { return prefix_.tokens; }
    const Prefix& complete(const PyNetwork& network) const {
        check(&network_ == &network.network(), "the prefix belongs to another network");
        check(prefix_.is_complete, "the prefix is not complete");
        return prefix_;
    }

  private:
    const std::vector<std::int32_t> ids_;
    const std::vector<std::int64_t> offsets_;
    const Network& network_;
    Prefix prefix_;
};

class PyTextsExecution : public PyExecution {
  public:
    PyTextsExecution(const PyNetwork& network, const Vector<std::int32_t>& ids, const Vector<std::int32_t>& segments,
                     const Vector<std::int64_t>& offsets, const MutableMatrix& result, const PyPrefix* prefix) {
        Texts texts = network.checked_texts(ids, segments, offsets, result);
        check(texts.count, "there must be at least one text");
        if (prefix) texts.prefix = &prefix->complete(network);
        execution_ = std::make_unique<Execution>(network.network(), texts, result.data(), nullptr);
    }
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

// A Unigram model together with the arrays that it reads.
class PyUnigram {
  public:
    PyUnigram(const Vector<std::uint8_t>& bytes, const Vector<std::uint32_t>& ends, const Vector<float>& scores,
              std::int32_t unknown_id)
        : bytes_(bytes), ends_(ends), scores_(scores),
          model_(reinterpret_cast<const char*>(bytes.data()), bytes.shape(0), ends.data(), scores.data(),
                 checked_count(ends, scores), unknown_id) {}

    // Returns the ids and lengths of all pieces, and the number of pieces of each text.
    nb::tuple split(const nb::sequence& texts) const {
        std::vector<Part> parts;
        std::string characters;
        std::vector<std::int32_t> counts;
        for (const nb::handle text : texts) {
            counts.push_back(0);
            for (const nb::handle word : text) parts.push_back(part_of(word, counts.size() - 1, characters));
        }
        Pieces pieces;
        {
            const ReleasedGil released;
            std::vector<Unigram::Path> paths;
            for (const Part& part : parts) {
                const std::size_t first = pieces.ids.size();
                if (part.id >= 0) {
                    pieces.ids.push_back(part.id);
                    pieces.lengths.push_back(1);
                } else {
                    model_.split(std::string_view(characters).substr(part.begin, part.size), paths, pieces);
                }
                counts[part.text] += static_cast<std::int32_t>(pieces.ids.size() - first);
            }
        }
        return nb::make_tuple(array_of(pieces.ids), array_of(pieces.lengths), array_of(counts));
    }

  private:
    // A part of a text: a word, or a piece with a known id.
    struct Part {
        std::size_t text, begin, size;
        std::int32_t id;
    };

    static std::size_t checked_count(const Vector<std::uint32_t>& ends, const Vector<float>& scores) {
        check(ends.shape(0) == scores.shape(0), "there must be one score per piece");
        return ends.shape(0);
    }

    // Appends the word's bytes to `characters`, because they must not change while the interpreter's lock is released.
    static Part part_of(const nb::handle& word, std::size_t text, std::string& characters) {
        if (!PyUnicode_Check(word.ptr())) {
            const std::int32_t id = nb::cast<std::int32_t>(word);
            check(id >= 0, "an id must not be negative");
            return {text, 0, 0, id};
        }
        Py_ssize_t size;
        const char* bytes = PyUnicode_AsUTF8AndSize(word.ptr(), &size);
        if (!bytes) throw nb::python_error();
        const std::size_t begin = characters.size();
        characters.append(bytes, static_cast<std::size_t>(size));
        return {text, begin, static_cast<std::size_t>(size), -1};
    }

    static nb::ndarray<nb::numpy, std::int32_t, nb::ndim<1>> array_of(const std::vector<std::int32_t>& numbers) {
        auto* copy = new std::vector<std::int32_t>(numbers);
        const nb::capsule owner(copy, [](void* pointer) noexcept { delete static_cast<std::vector<std::int32_t>*>(pointer); });
        return nb::ndarray<nb::numpy, std::int32_t, nb::ndim<1>>(copy->data(), {copy->size()}, owner);
    }

    Vector<std::uint8_t> bytes_;
    Vector<std::uint32_t> ends_;
    Vector<float> scores_;
    Unigram model_;
};

void py_max_sim(const nb::object& query, const nb::sequence& documents, const MutableMatrix& result,
                const std::optional<std::string>& instruction_set) {
    const Bytes query_bytes(query), document_bytes(documents);
    check(result.shape(0) == document_bytes.count() && result.shape(1) == 1, "result must have one row per document");
    const Kernels& kernels = kernels_named(instruction_set);
    const ReleasedGil released;
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
    const ReleasedGil released;
    Query prepared(kernels, query_bytes.encoding(0));
    LateFeatures features(prepared, lexical);
    for (std::size_t i = 0; i < document_bytes.count(); ++i)
        features.compare(document_bytes.encoding(i), result.data() + 4 * i);
}

// Single kernels. Their parameters are those of kernels.h; y receives the result.

void multiply(const Matrix<float>& x, const PackedFloats& packed, const MutableMatrix& y,
              const std::optional<Vector<float>>& bias, const std::string& activation,
              const std::optional<Matrix<float>>& residual, const std::string& instruction_set) {
    const std::size_t rows = x.shape(0), inputs = x.shape(1), outputs = y.shape(1);
    const LinearWeights weights = weights_of(packed, outputs);
    check(y.shape(0) == rows && weights.inputs == inputs, "x and y must match the weights");
    check(!residual || (residual->shape(0) == rows && residual->shape(1) == outputs), "added must have the shape of y");
    const Epilogue epilogue{bias_of(bias, outputs), activation_named(activation), residual ? residual->data() : nullptr,
                            outputs};
    const Kernels& kernels = kernels_named(instruction_set);
    const ReleasedGil released;
    if (weights.packed_f32)
        kernels.linear_f32(x.data(), inputs, rows, inputs, weights.packed_f32, outputs, epilogue, y.data(), outputs);
    else
        kernels.linear_half(x.data(), inputs, rows, inputs, weights.packed_half, weights.half, outputs, epilogue, y.data(),
                            outputs);
}

void multiply_int8(const Matrix<float>& x, const PackedInt8& packed, const Vector<float>& scales,
                   const Vector<std::int32_t>& sums, const MutableMatrix& y, const std::string& instruction_set) {
    const std::size_t rows = x.shape(0), inputs = x.shape(1), outputs = y.shape(1), stride = (inputs + 3) / 4 * 4;
    const LinearWeights weights = weights_of(packed, scales, sums, inputs, outputs);
    check(y.shape(0) == rows, "x and y must have the same number of rows");
    const Kernels& kernels = kernels_named(instruction_set);
    const ReleasedGil released;
    std::vector<std::uint8_t> values(rows * stride);
    std::vector<float> row_scales(rows);
    std::vector<std::int32_t> zero_points(rows);
    kernels.quantise(x.data(), rows, inputs, values.data(), stride, row_scales.data(), zero_points.data());
    const Int8Rows int8_rows{values.data(), stride, row_scales.data(), zero_points.data()};
    kernels.linear_i8(int8_rows, rows, inputs, weights.int8, outputs, {}, y.data(), outputs);
}

// The first columns of qkv are those of the heads, the next are the keys and then the values of `key_heads` heads. The rows of
// y are the results of the tokens from `first_query`.
void attend(const Matrix<float>& qkv, const MutableMatrix& y, std::size_t heads, float scale, std::size_t window,
            const std::string& instruction_set, std::optional<std::size_t> key_head_count, bool causal,
            std::size_t first_query, bool int8) {
    const std::size_t queries = y.shape(0), width = y.shape(1), tokens = qkv.shape(0), stride = qkv.shape(1);
    const std::size_t key_heads = key_head_count.value_or(heads);
    check(heads && width % heads == 0 && key_heads && heads % key_heads == 0, "y must have columns for all heads");
    const std::size_t size = width / heads;
    check(stride == width + 2 * key_heads * size, "qkv must have the columns of queries, keys and values");
    check(tokens && first_query <= tokens && queries <= tokens - first_query, "y must not have more rows than qkv");
    check(!(causal && int8), "causal attention has no int8 products");
    const Kernels& kernels = kernels_named(instruction_set);
    const ReleasedGil released;
    const AttentionShape shape{heads, size, scale, window, causal, int8};
    std::vector<float> scratch(kernels.attention_scratch(shape, tokens));
    for (std::size_t head = 0; head < heads; ++head) {
        const float* k = qkv.data() + width + head / (heads / key_heads) * size;
        kernels.pack_head(shape, k, k + key_heads * size, stride, 0, tokens, tokens, scratch.data());
        kernels.attend_head(shape, qkv.data() + first_query * stride + head * size, stride, first_query, queries, tokens, tokens,
                            scratch.data(), y.data() + head * size, width);
    }
}

void normalise(const Matrix<float>& x, const Vector<float>& weight, const std::optional<Vector<float>>& bias, float epsilon,
               const MutableMatrix& y, const std::string& instruction_set) {
    const std::size_t rows = x.shape(0), width = x.shape(1);
    check(y.shape(0) == rows && y.shape(1) == width && weight.shape(0) == width, "x, y and weight must have the same width");
    kernels_named(instruction_set).norm(x.data(), rows, width, weight.data(), bias_of(bias, width), epsilon, y.data());
}

void rms_normalise(const Matrix<float>& x, const Vector<float>& weight, float epsilon, const MutableMatrix& y,
                   const std::string& instruction_set) {
    const std::size_t rows = x.shape(0), width = x.shape(1);
    check(y.shape(0) == rows && y.shape(1) == width && weight.shape(0) == width, "x, y and weight must have the same width");
    kernels_named(instruction_set).rms_norm(x.data(), rows, width, weight.data(), epsilon, y.data());
}

void activate(const Matrix<float>& x, const std::string& activation, const MutableMatrix& y,
              const std::string& instruction_set) {
    check(x.shape(0) == y.shape(0) && x.shape(1) == y.shape(1), "x and y must have the same shape");
    kernels_named(instruction_set).activate(x.data(), x.shape(0) * x.shape(1), activation_named(activation), y.data());
}

void widen(const Vector<std::uint16_t>& halves, const MutableVector<float>& y, const std::string& instruction_set,
           bool bfloat16) {
    check(halves.shape(0) == y.shape(0), "halves and y must have the same size");
    kernels_named(instruction_set).widen(halves.data(), bfloat16 ? Half::bfloat16 : Half::float16, halves.shape(0), y.data());
}

}  // namespace

NB_MODULE(_native, m) {
    // nanobind acquires the GIL of the main interpreter, so a call in another interpreter of the process would wait forever.
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0)
        throw nb::import_error("the native core of podium runs in the main interpreter only, not in a subinterpreter");

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
             "activation"_a = "none", "added"_a = -1, "wide_inputs"_a = false)
        .def("attend", &PyNetwork::attend, "queries"_a, "query_column"_a, "keys"_a, "key_column"_a, "value_column"_a,
             "heads"_a, "size"_a, "scale"_a, "window"_a = 0, "hides_segment_1"_a = false, "key_heads"_a = nb::none(),
             "causal"_a = false, "int8"_a = false)
        .def("attend_disentangled", &PyNetwork::attend_disentangled, "queries"_a, "query_column"_a, "keys"_a, "key_column"_a,
             "value_column"_a, "heads"_a, "size"_a, "scale"_a, "falling"_a.none(), "rising"_a.none(),
             "hides_segment_1"_a = false)
        .def("transform_heads", &PyNetwork::transform_heads, "x"_a, "column"_a, "heads"_a, "size"_a, "weight"_a = nb::none(),
             "epsilon"_a = 0.0f, "cos"_a = nb::none(), "sin"_a = nb::none(), "last"_a = false)
        .def("scale", &PyNetwork::scale, "x"_a, "factor"_a)
        .def("rms_norm", &PyNetwork::rms_norm, "x"_a, "weight"_a, "epsilon"_a)
        .def("activate", &PyNetwork::activate, "x"_a, "activation"_a)
        .def("gate", &PyNetwork::gate, "x"_a, "activation"_a)
        .def("add", &PyNetwork::add, "x"_a, "y"_a)
        .def("first", &PyNetwork::first, "x"_a)
        .def("last", &PyNetwork::last, "x"_a)
        .def("mean", &PyNetwork::mean, "x"_a)
        .def("join", &PyNetwork::join, "inputs"_a)
        .def("neighbours", &PyNetwork::neighbours, "x"_a, "size"_a)
        .def("width", &PyNetwork::width, "x"_a)
        .def("per_text", &PyNetwork::per_text, "x"_a)
        .def("finish", &PyNetwork::finish, "result"_a)
        .def("run", &PyNetwork::run, "ids"_a.noconvert(), "segments"_a.noconvert(), "offsets"_a.noconvert(),
             "result"_a.noconvert(), "seconds"_a.noconvert() = nb::none())
        .def("step_names", &PyNetwork::step_names)
        .def_prop_ro("prefix_columns", &PyNetwork::prefix_columns);

    nb::class_<PyFlag>(m, "Flag")
        .def(nb::init<>())
        .def("set", &PyFlag::set)
        .def_prop_ro("is_set", [](const PyFlag& flag) { return flag.value().load(); });

    // The executions read the memory of their arguments.
    nb::class_<PyExecution>(m, "Execution")
        .def("work", &PyExecution::work, "leave"_a.none() = nb::none())
        .def("cancel", &PyExecution::cancel);
    nb::class_<PyPrefix, PyExecution>(m, "Prefix")
        .def(nb::init<const PyNetwork&, const Vector<std::int32_t>&>(), "network"_a, "ids"_a.noconvert(),
             nb::keep_alive<1, 2>())
        .def_prop_ro("tokens", &PyPrefix::tokens);
    nb::class_<PyTextsExecution, PyExecution>(m, "TextsExecution")
        .def(nb::init<const PyNetwork&, const Vector<std::int32_t>&, const Vector<std::int32_t>&, const Vector<std::int64_t>&,
                      const MutableMatrix&, const PyPrefix*>(),
             "network"_a, "ids"_a.noconvert(), "segments"_a.noconvert(), "offsets"_a.noconvert(), "result"_a.noconvert(),
             "prefix"_a.none() = nb::none(), nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>(), nb::keep_alive<1, 4>(),
             nb::keep_alive<1, 5>(), nb::keep_alive<1, 6>(), nb::keep_alive<1, 7>());

    nb::class_<PyUnigram>(m, "Unigram")
        .def(nb::init<const Vector<std::uint8_t>&, const Vector<std::uint32_t>&, const Vector<float>&, std::int32_t>(),
             "characters"_a, "ends"_a, "scores"_a, "unknown_id"_a)
        .def("split", &PyUnigram::split, "texts"_a);

    m.def("max_sim", py_max_sim, "query"_a, "documents"_a, "result"_a.noconvert(), "instruction_set"_a = nb::none());
    m.def("late_features", py_late_features, "query"_a, "documents"_a, "result"_a.noconvert(), "token_idf"_a,
          "token_piece_idf"_a, "token_stem"_a, "k1"_a, "b"_a, "average_tokens"_a, "instruction_set"_a = nb::none());

    m.def("multiply", multiply, "x"_a, "packed"_a, "y"_a.noconvert(), "bias"_a.none(), "activation"_a, "added"_a.none(),
          "instruction_set"_a);
    m.def("multiply_int8", multiply_int8, "x"_a, "packed"_a, "scales"_a, "sums"_a, "y"_a.noconvert(), "instruction_set"_a);
    m.def("attend", attend, "qkv"_a, "y"_a.noconvert(), "heads"_a, "scale"_a, "window"_a, "instruction_set"_a,
          "key_heads"_a = nb::none(), "causal"_a = false, "first_query"_a = 0,
          "int8"_a = false);
    m.def("rms_normalise", rms_normalise, "x"_a, "weight"_a, "epsilon"_a, "y"_a.noconvert(), "instruction_set"_a);
    m.def("normalise", normalise, "x"_a, "weight"_a, "bias"_a.none(), "epsilon"_a, "y"_a.noconvert(), "instruction_set"_a);
    m.def("activate", activate, "x"_a, "activation"_a, "y"_a.noconvert(), "instruction_set"_a);
    m.def("widen", widen, "halves"_a, "y"_a.noconvert(), "instruction_set"_a, "bfloat16"_a = false);
}

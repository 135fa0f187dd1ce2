"""Measure which operations take the time of one pair, in the native core and in ONNX Runtime, on one thread.

    .venv/dev/bin/python bench/operators.py

Needs the cross-encoder that `make bench` creates. The program prints three kinds of tables:

- the time of the steps in the native core, which the core measures itself, with as many pairs at once as it usually gets
- the time of the operators in ONNX Runtime, which its profiler measures
- the time of alternative operators in ONNX Runtime, for MiniLM's shapes
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from podium.local.build import add_scorer, load
from podium.local.files.checkpoint import Checkpoint
from podium.local.files.versions import digest_of
from podium.local.runtimes import Precision, Variant
from podium.local.runtimes.int8 import Int8Weights
from podium.local.runtimes.native.runtime import NativeRuntime
from podium.local.runtimes.onnx.graph import OnnxGraph
from podium.local.spec import read_spec

MODEL = Path(__file__).parents[1] / ".bench" / "model"
WIDTH, INTERMEDIATE, HEADS = 384, 1536, 12  # MiniLM's shape
RUNS = 60
QUERY_TOKENS = 12
PAIR_TOKENS = (83, 310)
MICROSOFT = "com.microsoft"  # the domain of ONNX Runtime's own operators
RANDOM = np.random.default_rng(0)


def session_options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def operator_times(precision: Precision, token_count: int) -> Counter[str]:
    """Return, by kind of operator, the milliseconds that its operators take for one pair in ONNX Runtime."""
    session = profiled_session(precision)
    segments = np.zeros((1, token_count), np.int64)
    segments[0, QUERY_TOKENS:] = 1
    feeds = {"input_ids": RANDOM.integers(1000, 20_000, (1, token_count)), "token_type_ids": segments}
    for _ in range(RUNS):
        session.run(None, feeds)
    times: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            times[event["args"]["op_name"]] += event["dur"] / 1000 / RUNS
    return times


def profiled_session(precision: Precision) -> onnxruntime.InferenceSession:
    """Return a session of the model that records the time of every operator."""
    spec = read_spec(MODEL)
    checkpoint = Checkpoint(spec.weights, spec.family.prefix)
    graph = OnnxGraph(checkpoint, Int8Weights(digest_of(checkpoint.files)) if precision == "int8" else None)
    model = graph.model(add_scorer(graph, spec, spec.family, spec.architecture))
    external_names = [tensor.name for tensor in model.graph.initializer if tensor.external_data]
    options = session_options()
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(tempfile.mkdtemp()) / "profile")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(graph.weights[name]) for name in external_names]
    options.add_external_initializers(external_names, values)
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def step_times(precision: Precision, token_count: int) -> Counter[str]:
    """Return, by kind of step, the milliseconds that its steps take for one pair in the native core."""
    runtime = load(read_spec(MODEL), Variant("native", precision))
    assert isinstance(runtime, NativeRuntime)
    network = runtime.network
    pair_count = max(runtime.tokens_at_once // token_count, 1)
    ids = RANDOM.integers(1000, 20_000, pair_count * token_count).astype(np.int32)
    segments = np.tile((np.arange(token_count) >= QUERY_TOKENS).astype(np.int32), pair_count)
    offsets = np.arange(pair_count + 1, dtype=np.int64) * token_count
    result = np.empty((pair_count, 1), np.float32)
    seconds_of_runs = []
    for _ in range(RUNS):
        seconds = np.zeros(len(network.step_names()))
        network.run(ids=ids, segments=segments, offsets=offsets, result=result, seconds=seconds)
        seconds_of_runs.append(seconds)
    times: Counter[str] = Counter()
    for name, seconds in zip(network.step_names(), np.median(seconds_of_runs, axis=0), strict=True):
        times[name] += seconds * 1000 / pair_count
    return times


class Sketch:
    """A small ONNX network, whose input "x" has shape (1, tokens, WIDTH)."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int, values: Any = None) -> str:
        """Add an array with these values, or a random one of this shape, and return its name."""
        name = f"w{len(self.weights)}"
        array = values if values is not None else RANDOM.standard_normal(shape).astype(np.float32) * 0.05
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def microseconds(self, result: str, token_count: int) -> float:
        """Return the median time of a run whose output is `result`.

        It includes the cost of the call itself, so compare it only with other values of this method.
        """
        shape = [1, token_count, WIDTH]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        output = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "sketch", [x], [output], self.weights)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        session = onnxruntime.InferenceSession(model.SerializeToString(), session_options())
        feeds = {"x": RANDOM.standard_normal(shape).astype(np.float32)}
        times = []
        for _ in range(RUNS):
            began = time.perf_counter()
            session.run([result], feeds)
            times.append(time.perf_counter() - began)
        return statistics.median(times) * 1e6


# The following functions add an alternative to a sketch, and return the name of its output.


def norm(sketch: Sketch) -> str:
    return sketch.op(
        "LayerNormalization", sketch.op("Add", "x", "x"), sketch.weight(WIDTH), sketch.weight(WIDTH), epsilon=1e-12
    )


def fused_norm(sketch: Sketch) -> str:
    scale = sketch.weight(WIDTH)
    shift = sketch.weight(WIDTH)
    return sketch.op("SkipLayerNormalization", "x", "x", scale, shift, domain=MICROSOFT, epsilon=1e-12)


def attention(sketch: Sketch) -> str:
    shape = sketch.weight(values=np.array([0, -1, HEADS, WIDTH // HEADS]))
    heads = sketch.op("Transpose", sketch.op("Reshape", "x", shape), perm=[0, 2, 1, 3])
    products = sketch.op("FusedMatMul", heads, heads, domain=MICROSOFT, transB=1, alpha=0.18)
    mixed = sketch.op("MatMul", sketch.op("Softmax", products, axis=-1), heads)
    return sketch.op("Transpose", mixed, perm=[0, 2, 1, 3])


def fused_attention(sketch: Sketch) -> str:
    return sketch.op("MultiHeadAttention", "x", "x", "x", domain=MICROSOFT, num_heads=HEADS)


def gemm(sketch: Sketch) -> str:
    flat = sketch.op("Reshape", "x", sketch.weight(values=np.array([-1, WIDTH])))
    return sketch.op("Gemm", flat, sketch.weight(INTERMEDIATE, WIDTH), sketch.weight(INTERMEDIATE), transB=1)


def matmul(sketch: Sketch) -> str:
    return sketch.op("Add", sketch.op("MatMul", "x", sketch.weight(WIDTH, INTERMEDIATE)), sketch.weight(INTERMEDIATE))


def quantised_matmul(dtype: type) -> Callable[[Sketch], str]:
    def build(sketch: Sketch) -> str:
        weight = RANDOM.integers(-127, 127, (WIDTH, INTERMEDIATE)).astype(dtype)
        parts = [sketch.weight(values=weight), sketch.weight(INTERMEDIATE)]
        parts += [sketch.weight(values=np.zeros(INTERMEDIATE, dtype)), sketch.weight(INTERMEDIATE)]
        return sketch.op("DynamicQuantizeMatMul", "x", *parts, domain=MICROSOFT)

    return build


def block_matmul(sketch: Sketch) -> str:
    blocks = sketch.weight(values=RANDOM.integers(0, 255, (INTERMEDIATE, 3, 128)).astype(np.uint8))
    sizes = {"K": WIDTH, "N": INTERMEDIATE, "bits": 8, "block_size": 128, "accuracy_level": 4}
    return sketch.op("MatMulNBits", "x", blocks, sketch.weight(INTERMEDIATE * 3), domain=MICROSOFT, **sizes)


ALTERNATIVES: dict[str, Callable[[Sketch], str]] = {
    "norm: Add, LayerNormalization": norm,
    "norm: SkipLayerNormalization": fused_norm,
    "attention: FusedMatMul, Softmax, MatMul": attention,
    "attention: MultiHeadAttention": fused_attention,
    "384 × 1536: Gemm with bias": gemm,
    "384 × 1536: MatMul, Add": matmul,
    "384 × 1536: DynamicQuantizeMatMul, int8 weights": quantised_matmul(np.int8),
    "384 × 1536: DynamicQuantizeMatMul, uint8 weights": quantised_matmul(np.uint8),
    "384 × 1536: MatMulNBits, 8 bits, blocks of 128": block_matmul,
}


def print_times(title: str, times: dict[int, Counter[str]]) -> None:
    """Print the nine kinds that take the most time, and the total. The keys of `times` are the numbers of a pair's tokens."""
    short, long = (times[token_count] for token_count in PAIR_TOKENS)
    print(f"| {title} | ms at {PAIR_TOKENS[0]} tokens | ms at {PAIR_TOKENS[1]} |\n|---|---|---|")
    for kind, milliseconds in short.most_common(9):
        print(f"| {kind} | {milliseconds:.2f} | {long[kind]:.2f} |")
    print(f"| all | {sum(short.values()):.2f} | {sum(long.values()):.2f} |\n")


def main() -> None:
    precisions: tuple[Precision, ...] = ("float32", "int8")
    for title, measure in (("the native core", step_times), ("ONNX Runtime", operator_times)):
        for precision in precisions:
            print_times(f"{title}, {precision}", {count: measure(precision, count) for count in PAIR_TOKENS})
    print(f"| operators | µs at {PAIR_TOKENS[0]} tokens | µs at {PAIR_TOKENS[1]} |\n|---|---|---|")
    for name, build in ALTERNATIVES.items():
        times = []
        for token_count in PAIR_TOKENS:
            sketch = Sketch()
            times.append(sketch.microseconds(build(sketch), token_count))
        print(f"| {name} | {times[0]:.0f} | {times[1]:.0f} |")


if __name__ == "__main__":
    main()

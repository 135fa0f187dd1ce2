"""Where the time of one pair goes, in the native core and in ONNX Runtime, on one thread.

    .venv/dev/bin/python bench/operators.py

First the steps of the cross-encoder that `make bench` makes (run that before) in the native core, timed by itself, as many
pairs at once as it is given; then its operators in ONNX Runtime, by the profiler; then alternatives there at MiniLM's
shapes, in microseconds.
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

from podium.local.build import load
from podium.local.files.checkpoint import Checkpoint
from podium.local.graph import Precision
from podium.local.runtimes.int8 import Quantised
from podium.local.runtimes.native.runtime import NativeRuntime
from podium.local.runtimes.onnx.graph import OnnxGraph
from podium.local.spec import read

MODEL = Path(__file__).parents[1] / ".bench" / "model"
WIDTH, WIDE, HEADS = 384, 1536, 12
RUNS, QUERY_TOKENS = 60, 12
DRAW = np.random.default_rng(0)


def options() -> Any:
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = made.inter_op_num_threads = 1
    made.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return made


def profile(precision: Precision, tokens: int) -> Counter[str]:
    """Return milliseconds per operator and pair of that model."""
    spec = read(MODEL)
    assert spec.family is not None
    checkpoint = Checkpoint(spec.weights, spec.family.prefix)
    graph = OnnxGraph(checkpoint, Quantised(checkpoint.digest()) if precision == "int8" else None)
    result = spec.family.head(graph, spec.config, spec.family.encode(graph, spec.config, True))
    model = graph.model(result)
    outside = [tensor.name for tensor in model.graph.initializer if tensor.external_data]
    made = options()
    made.enable_profiling = True
    made.profile_file_prefix = str(Path(tempfile.mkdtemp()) / "profile")
    made.add_external_initializers(outside, [onnxruntime.OrtValue.ortvalue_from_numpy(graph.weights[name]) for name in outside])
    session = onnxruntime.InferenceSession(model.SerializeToString(), made)
    feeds = {"input_ids": DRAW.integers(1000, 20_000, (1, tokens)), "token_type_ids": np.zeros((1, tokens), np.int64)}
    feeds["token_type_ids"][0, QUERY_TOKENS:] = 1
    for _ in range(RUNS):
        session.run(None, feeds)
    spent: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"] / 1000 / RUNS
    return spent


def steps(precision: Precision, tokens: int) -> Counter[str]:
    """Return milliseconds per kind of step and pair in the native core."""
    runtime = load(read(MODEL), precision, "native")
    assert isinstance(runtime, NativeRuntime)
    count = max(runtime.tokens_at_once // tokens, 1)
    ids = DRAW.integers(1000, 20_000, count * tokens).astype(np.int32)
    segments = np.tile((np.arange(tokens) >= QUERY_TOKENS).astype(np.int32), count)
    offsets, result = np.arange(count + 1, dtype=np.int64) * tokens, np.empty((count, 1), np.float32)
    network = runtime.network
    taken = []
    for _ in range(RUNS):
        seconds = np.zeros(len(network.step_names()))
        network.run(ids, segments, offsets, result, seconds)
        taken.append(seconds)
    spent: Counter[str] = Counter()
    for name, seconds in zip(network.step_names(), np.median(taken, axis=0), strict=True):
        spent[name] += seconds * 1000 / count
    return spent


class Sketch:
    """A few nodes between an input of shape (1, tokens, WIDTH) and an output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int, values: Any = None) -> str:
        name = f"w{len(self.weights)}"
        array = values if values is not None else DRAW.standard_normal(shape).astype(np.float32) * 0.05
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"n{len(self.nodes)}.{at}" for at in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def microseconds(self, result: str, tokens: int) -> float:
        """Return the median time of a run, less nothing: compare, don't add."""
        shape = [1, tokens, WIDTH]
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        told = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "sketch", [given], [told], self.weights)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        session = onnxruntime.InferenceSession(
            helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString(), options()
        )
        feeds = {"x": DRAW.standard_normal(shape).astype(np.float32)}
        taken = []
        for _ in range(RUNS):
            began = time.perf_counter()
            session.run([result], feeds)
            taken.append(time.perf_counter() - began)
        return statistics.median(taken) * 1e6


def normalised(kind: str) -> Callable[[Sketch], str]:
    def make(sketch: Sketch) -> str:
        scale, shift = sketch.weight(WIDTH), sketch.weight(WIDTH)
        if kind == "fused":
            return str(sketch.op("SkipLayerNormalization", "x", "x", scale, shift, domain="com.microsoft", epsilon=1e-12))
        return str(sketch.op("LayerNormalization", sketch.op("Add", "x", "x"), scale, shift, epsilon=1e-12))

    return make


def attended(kind: str) -> Callable[[Sketch], str]:
    def make(sketch: Sketch) -> str:
        if kind == "fused":
            return str(sketch.op("MultiHeadAttention", "x", "x", "x", domain="com.microsoft", num_heads=HEADS))
        shape = sketch.weight(values=np.array([0, -1, HEADS, WIDTH // HEADS]))
        heads = sketch.op("Transpose", sketch.op("Reshape", "x", shape), perm=[0, 2, 1, 3])
        scores = sketch.op("FusedMatMul", heads, heads, domain="com.microsoft", transB=1, alpha=0.18)
        mixed = sketch.op("MatMul", sketch.op("Softmax", scores, axis=-1), heads)
        return str(sketch.op("Transpose", mixed, perm=[0, 2, 1, 3]))

    return make


def multiplied(kind: str) -> Callable[[Sketch], str]:
    def make(sketch: Sketch) -> str:
        bias = sketch.weight(WIDE)
        if kind == "Gemm":
            flat = sketch.op("Reshape", "x", sketch.weight(values=np.array([-1, WIDTH])))
            return str(sketch.op("Gemm", flat, sketch.weight(WIDE, WIDTH), bias, transB=1))
        if kind == "MatMul":
            return str(sketch.op("Add", sketch.op("MatMul", "x", sketch.weight(WIDTH, WIDE)), bias))
        if kind == "blocks":
            blocks = sketch.weight(values=DRAW.integers(0, 255, (WIDE, 3, 128)).astype(np.uint8))
            scales = sketch.weight(WIDE * 3)
            sizes = {"K": WIDTH, "N": WIDE, "bits": 8, "block_size": 128, "accuracy_level": 4}
            return str(sketch.op("MatMulNBits", "x", blocks, scales, domain="com.microsoft", **sizes))
        whole = DRAW.integers(-127, 127, (WIDTH, WIDE)).astype(np.int8 if kind == "int8" else np.uint8)
        parts = [sketch.weight(values=whole), sketch.weight(WIDE), sketch.weight(values=np.zeros(WIDE, whole.dtype)), bias]
        return str(sketch.op("DynamicQuantizeMatMul", "x", *parts, domain="com.microsoft"))

    return make


ALTERNATIVES: dict[str, Callable[[Sketch], str]] = {
    "normalise: Add, LayerNormalization": normalised("apart"),
    "normalise: SkipLayerNormalization": normalised("fused"),
    "attend: FusedMatMul, Softmax, MatMul": attended("apart"),
    "attend: MultiHeadAttention": attended("fused"),
    "384 × 1536: Gemm with bias": multiplied("Gemm"),
    "384 × 1536: MatMul, Add": multiplied("MatMul"),
    "384 × 1536: DynamicQuantizeMatMul, int8 weights": multiplied("int8"),
    "384 × 1536: DynamicQuantizeMatMul, uint8 weights": multiplied("uint8"),
    "384 × 1536: MatMulNBits, 8 bits, blocks of 128": multiplied("blocks"),
}


def print_spent(title: str, spent: dict[int, Counter[str]]) -> None:
    print(f"| {title} | ms at 83 tokens | ms at 310 |\n|---|---|---|")
    for kind, took in spent[83].most_common(9):
        print(f"| {kind} | {took:.2f} | {spent[310][kind]:.2f} |")
    print(f"| all | {sum(spent[83].values()):.2f} | {sum(spent[310].values()):.2f} |\n")


def main() -> None:
    precisions: tuple[Precision, ...] = ("float32", "int8")
    for title, timed in (("the native core", steps), ("ONNX Runtime", profile)):
        for precision in precisions:
            print_spent(f"{title}, {precision}", {tokens: timed(precision, tokens) for tokens in (83, 310)})
    print("| a way to write it | µs at 83 tokens | µs at 310 |\n|---|---|---|")
    for name, make in ALTERNATIVES.items():
        taken = []
        for tokens in (83, 310):
            sketch = Sketch()
            taken.append(sketch.microseconds(make(sketch), tokens))
        print(f"| {name} | {taken[0]:.0f} | {taken[1]:.0f} |")


if __name__ == "__main__":
    main()

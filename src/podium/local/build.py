"""Spec and weights → a network that runs: encoder, pooling and head, with checks that the head was trained to rank.

A cross-encoder ends in one number, an embedder in a vector; everything before that is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from podium.errors import Argument, UnsupportedModel
from podium.local.families.family import Architecture, Family, Pooling
from podium.local.files.checkpoint import Checkpoint, weight_files
from podium.local.graph import Graph, Rows, Value
from podium.local.runtimes import NO_CORE, Precision, PrecisionOption, Runtime, RuntimeName, RuntimeOption, Variant, native_core
from podium.local.spec import Module, Spec

__all__ = ["add_scorer", "load", "load_embedder", "variants_for"]

AddNetwork = Callable[[Graph, Spec, Family, Architecture], Value]

ROWS: dict[Pooling, Rows] = {"cls": "first", "mean": "all", "none": "all"}


def load(spec: Spec, variant: Variant) -> Runtime:
    """Return the network of a cross-encoder. Raises ModelError if weights are missing, untrained, damaged or unsuitable."""
    if spec.family and spec.architecture:
        return _build(spec, spec.family, spec.architecture, variant, add_scorer)
    if variant.precision != "float32":
        raise UnsupportedModel(f"{spec.folder} runs from its own ONNX file; use ", Argument("precision", "float32"))
    from podium.local.runtimes.onnx.runtime import OnnxRuntime

    return OnnxRuntime.from_file(spec.weights[0])


def load_embedder(spec: Spec, variant: Variant) -> Runtime:
    """Return the network of an embedder: one vector per text, not yet normalised. Raises ModelError as `load` does."""
    if not spec.family or not spec.architecture:
        raise UnsupportedModel(
            f"{spec.folder} runs only from its own ONNX file, which does not say how it pools; embed with a model of another "
            "family, such as sentence-transformers/all-MiniLM-L6-v2"
        )
    if not spec.modules:
        raise UnsupportedModel(
            f"{spec.folder} has no modules.json with a Pooling, which makes one vector of its rows; name a "
            "sentence-transformers model, such as sentence-transformers/all-MiniLM-L6-v2"
        )
    if spec.modules[0].config.get("include_prompt") is False:
        raise UnsupportedModel(f"{spec.folder} leaves its prompt out of the mean (include_prompt), which podium cannot do yet")
    return _build(spec, spec.family, spec.architecture, variant, _add_embedder)


def variants_for(spec: Spec, *, precision: PrecisionOption = "float32", runtime: RuntimeOption = "auto") -> list[Variant]:
    """Return the variants that can run a model here, the usually fastest runtime first. Raises UnsupportedModel if none can."""
    if precision != "auto":
        precisions: tuple[Precision, ...] = (precision,)
    else:
        precisions = ("float32", "int8") if spec.family else ("float32",)
    return [Variant(*variant) for variant in itertools.product(_runtimes(spec, runtime), precisions)]


def _runtimes(spec: Spec, runtime: RuntimeOption) -> tuple[RuntimeName, ...]:
    is_native = spec.family is not None and spec.family.native
    if runtime == "native" and not is_native:
        kind = spec.family.name if spec.family else "a model with its own ONNX file"
        raise UnsupportedModel(f"{spec.folder} is {kind}, which the native core cannot run; use ", Argument("runtime", "onnx"))
    if runtime == "native" and not native_core():
        raise UnsupportedModel(
            f"podium was installed without its native core ({NO_CORE}), or use ", Argument("runtime", "onnx")
        )
    if runtime != "auto":
        return (runtime,)
    return ("native", "onnx") if is_native and native_core() else ("onnx",)


def _build(spec: Spec, family: Family, architecture: Architecture, variant: Variant, add_network: AddNetwork) -> Runtime:
    checkpoint = Checkpoint(spec.weights, family.prefix)

    def add(graph: Graph) -> Value:
        result = add_network(graph, spec, family, architecture)
        if unused := checkpoint.unused_layers():
            raise UnsupportedModel(
                f"{spec.folder}: its weights have layers that its config.json does not have ({unused[0]} …); "
                "download both from one place"
            )
        return result

    build = _build_native if variant.runtime == "native" else _build_onnx
    try:
        return build(spec, checkpoint, variant.precision, add)
    finally:
        checkpoint.close()


# A runtime's packages are imported when it is used: that takes most of the time of a short program.


def _build_onnx(spec: Spec, checkpoint: Checkpoint, precision: Precision, add: Callable[[Graph], Value]) -> Runtime:
    from podium.local.runtimes.int8 import Int8Weights
    from podium.local.runtimes.onnx.graph import OnnxGraph
    from podium.local.runtimes.onnx.runtime import OnnxRuntime

    int8 = Int8Weights(checkpoint.digest()) if precision == "int8" else None
    graph = OnnxGraph(checkpoint, int8)
    result = add(graph)
    if int8:
        int8.save()
    return OnnxRuntime.from_graph(graph, result)


def _build_native(spec: Spec, checkpoint: Checkpoint, precision: Precision, add: Callable[[Graph], Value]) -> Runtime:
    from podium.local.runtimes.native.graph import NativeGraph
    from podium.local.runtimes.native.packed import Packed
    from podium.local.runtimes.native.runtime import NativeRuntime

    def build(packed: Packed) -> Runtime:
        graph = NativeGraph(checkpoint, packed, precision)
        return NativeRuntime(*graph.finish(add(graph)))

    packed = Packed(spec.digest, precision)
    runtime = build(packed)
    if packed.complete or not packed.save():
        return runtime
    # Built again from the file that was just written: its pages are shared, and need not stay in memory.
    del runtime, packed
    return build(Packed(spec.digest, precision))


def add_scorer(graph: Graph, spec: Spec, family: Family, architecture: Architecture) -> Value:
    """Add everything up to the one number that ranks."""
    if not spec.modules:
        _check_head(graph, spec, family)
        return architecture.head(graph, _add_pooled(graph, spec, architecture))
    outputs = spec.modules[-1].config.get("out_features")
    if outputs != 1:
        raise UnsupportedModel(
            f"{spec.folder}: its last module has {outputs or 'many'} outputs, not one score, so it is not a reranker"
        )
    return _add_embedder(graph, spec, family, architecture)


def _add_embedder(graph: Graph, spec: Spec, family: Family, architecture: Architecture) -> Value:
    """Add the encoder, the pooling and the modules after it, except a Normalize, which the Embedder does."""
    x = _add_pooled(graph, spec, architecture)
    for module in spec.modules[1:]:
        if module.kind == "Dense":
            x = _add_dense(graph, x, module)
        elif module.kind == "LayerNorm":
            x = _graph_with(graph, module).norm(x, f"{module.folder.name}.norm", 1e-5)
    return x


def _add_pooled(graph: Graph, spec: Spec, architecture: Architecture) -> Value:
    hidden = architecture.encode(graph, ROWS[spec.pooling])
    return graph.mean(hidden) if spec.pooling == "mean" else hidden


def _check_head(graph: Graph, spec: Spec, family: Family) -> None:
    if missing := [name for name in family.head_weights if name not in graph.checkpoint]:
        raise UnsupportedModel(
            f"{spec.folder} has no trained head ({', '.join(missing)} missing from its weights; its config.json says "
            f"{spec.config.get('architectures')}), so scores would be random. Use the copy that its authors published, or "
            "another model"
        )
    labels = graph.checkpoint.shape(family.head_weights[-1])[:1]
    if labels != (1,):
        names = list((spec.config.get("id2label") or {}).values())
        raise UnsupportedModel(
            f"{spec.folder} has {labels[0] if labels else 'no'} labels {names}, not one score: it was trained to classify. "
            "Use a model that was trained to rank, such as cross-encoder/ms-marco-MiniLM-L6-v2"
        )


def _add_dense(graph: Graph, x: Value, module: Module) -> Value:
    if module.config.get("use_residual"):
        raise UnsupportedModel(f"{module.folder} is a Dense with a residual, which podium cannot do yet")
    activation = str(module.config.get("activation_function") or "torch.nn.modules.activation.Tanh").rpartition(".")[2]
    bias = bool(module.config.get("bias", True))
    x = _graph_with(graph, module).linear(x, f"{module.folder.name}.linear", bias=bias, exact=True)
    return x if activation == "Identity" else graph.activation(x, activation.lower())


def _graph_with(graph: Graph, module: Module) -> Graph:
    """Let the graph read a module's weights, under the name of the module's folder."""
    files = weight_files(module.folder)
    if not files:
        raise UnsupportedModel(f"{module.folder} has no model.safetensors: the head is missing, so scores would be random")
    graph.checkpoint.add(files, f"{module.folder.name}.")
    return graph

"""The construction of networks from a Spec and its weights: encoder, pooling and head.

A cross-encoder's network ends in one number, and an embedder's in a vector; everything before that is the same. The head must
have been trained to rank.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

from podium.errors import Argument, UnsupportedModel
from podium.extras import import_optional
from podium.local.families.family import Architecture, Family, Pooling
from podium.local.families.llama import Llama
from podium.local.files.checkpoint import Checkpoint, weight_files
from podium.local.graph import Graph, Rows, Value
from podium.local.runtimes import (
    NO_CORE,
    ONNX_PACKAGES,
    Precision,
    PrecisionOption,
    Runtime,
    RuntimeName,
    RuntimeOption,
    Variant,
    has_onnx_runtime,
    native_core,
)
from podium.local.spec import ONLY_PICKLED, PICKLES, Module, Spec

__all__ = ["AddNetwork", "add_dense", "add_scorer", "load", "load_decoder", "load_embedder", "load_network", "variants_for"]

AddNetwork = Callable[[Graph, Spec, Family, Architecture], Value]
"""A function that adds a network to a graph and returns the network's result."""

TANH = "torch.nn.modules.activation.Tanh"  # the activation of a Dense that names none
ROWS: dict[Pooling, Rows] = {  # pooling → the encoder's rows that it needs
    "cls": "first",
    "last": "last",
    "mean": "all",
    "none": "all",
}
RUNTIME_TITLES: dict[RuntimeName, str] = {"native": "the native core", "onnx": "ONNX Runtime"}


def load(spec: Spec, variant: Variant) -> Runtime:
    """Return the network of a cross-encoder. Raises ModelError if weights are missing, untrained, damaged or unsuitable."""
    if spec.family and spec.architecture:
        return load_network(spec, spec.family, spec.architecture, variant, add_scorer)
    if variant.precision != "float32":
        raise UnsupportedModel(f"{spec.folder} runs from its own ONNX file; use ", Argument("precision", "float32"))
    from podium.local.runtimes.onnx.runtime import OnnxRuntime

    return OnnxRuntime.from_file(spec.weights[0])


def load_decoder(spec: Spec, variant: Variant, *, output_rows: Sequence[int] = ()) -> Runtime:
    """Return the network of a decoder, whose result is the logits of the last token.

    - `output_rows`: the ids of the tokens whose logits are computed, in this order, from their rows of the output matrix. If
      there are none, the result is that of the classifier score.weight, which has one or two labels.

    Raises ModelError as `load` does.
    """
    if not spec.family or not spec.architecture:
        raise UnsupportedModel(f"{spec.folder} runs only from its own ONNX file, which podium cannot use as a decoder")
    add_network = functools.partial(_add_decoder, output_rows=output_rows)
    return load_network(spec, spec.family, spec.architecture, variant, add_network)


def load_embedder(spec: Spec, variant: Variant) -> Runtime:
    """Return the network of an embedder: one vector per text, not yet normalised. Raises ModelError as `load` does."""
    if not spec.family or not spec.architecture:
        raise UnsupportedModel(
            f"{spec.folder} runs only from its own ONNX file, which does not say how it pools; embed with a model of another "
            "family, such as sentence-transformers/all-MiniLM-L6-v2"
        )
    if not spec.modules:
        raise UnsupportedModel(
            f"{spec.folder} is not an embedding model: it has no modules.json with a Pooling; name a sentence-transformers "
            "model, such as sentence-transformers/all-MiniLM-L6-v2"
        )
    if spec.modules[0].config.get("include_prompt") is False:
        raise UnsupportedModel(f"{spec.folder} leaves its prompt out of the mean (include_prompt), which podium cannot do yet")
    return load_network(spec, spec.family, spec.architecture, variant, _add_embedder)


def variants_for(spec: Spec, *, precision: PrecisionOption = "float32", runtime: RuntimeOption = "auto") -> list[Variant]:
    """Return the variants that can run a model here, with those of the usually faster runtime first.

    Raises UnsupportedModel if there are none, and MissingPackage if they need the extra "onnx".
    """
    if precision != "auto":
        precisions: tuple[Precision, ...] = (precision,)
    else:
        precisions = ("float32", "int8") if spec.family else ("float32",)
    return [Variant(*variant) for variant in itertools.product(_runtimes(spec, runtime), precisions)]


def _runtimes(spec: Spec, runtime: RuntimeOption) -> tuple[RuntimeName, ...]:
    """Return the runtimes that can run a model here, the usually faster one first. Raises what `variants_for` raises."""
    possible = spec.family.runtimes if spec.family else ("onnx",)
    kind = spec.family.name if spec.family else "a model with its own ONNX file"
    if runtime != "auto" and runtime not in possible:
        raise UnsupportedModel(
            f"{spec.folder} is {kind}, which {RUNTIME_TITLES[runtime]} cannot run; use ", Argument("runtime", possible[0])
        )
    selected = possible if runtime == "auto" else (runtime,)
    usable = tuple(name for name in selected if (native_core() if name == "native" else has_onnx_runtime()))
    if usable:
        return usable
    if "onnx" not in selected:
        remedy = (", or use ", Argument("runtime", "onnx")) if "onnx" in possible else ()
        raise UnsupportedModel(f"podium was installed without its native core ({NO_CORE})", *remedy)
    if "native" in selected:
        user = f"podium was installed without its native core ({NO_CORE}), so a model on this machine"
    else:
        user = "the runtime onnx" if spec.family else f"{spec.folder} is an ONNX file, which"
    for package in ONNX_PACKAGES:
        import_optional(package, "onnx", user=user)
    return ("onnx",)


def load_network(spec: Spec, family: Family, architecture: Architecture, variant: Variant, add_network: AddNetwork) -> Runtime:
    """Return the network that `add_network` adds to a graph.

    Raises ModelError as `load` does, and UnsupportedModel if the network does not use all layers of the checkpoint.
    """
    checkpoint = Checkpoint(spec.weights, family.prefix, is_quantised=spec.is_quantised)

    def add_checked(graph: Graph) -> Value:
        result = add_network(graph, spec, family, architecture)
        if unused := checkpoint.unused_layers():
            raise UnsupportedModel(
                f"{spec.folder}: its weights have layers that its config.json does not have ({unused[0]} …); "
                "download both from one place"
            )
        return result

    build = _build_native if variant.runtime == "native" else _build_onnx
    try:
        return build(spec, checkpoint, variant.precision, add_checked)
    finally:
        checkpoint.close()


# A runtime's packages are imported when it is used, because importing them takes most of the time of a short program.


def _build_onnx(spec: Spec, checkpoint: Checkpoint, precision: Precision, add_network: Callable[[Graph], Value]) -> Runtime:
    from podium.local.runtimes.int8 import Int8Weights
    from podium.local.runtimes.onnx.graph import OnnxGraph
    from podium.local.runtimes.onnx.runtime import OnnxRuntime

    int8 = Int8Weights(spec.digest) if precision == "int8" else None
    graph = OnnxGraph(checkpoint, int8)
    result = add_network(graph)
    spec.versions.check_unchanged()
    if int8:
        int8.save()
    return OnnxRuntime.from_graph(graph, result)


def _build_native(spec: Spec, checkpoint: Checkpoint, precision: Precision, add_network: Callable[[Graph], Value]) -> Runtime:
    from podium.local.runtimes.native.graph import NativeGraph
    from podium.local.runtimes.native.packed import Packed
    from podium.local.runtimes.native.runtime import NativeRuntime

    with Packed(spec.digest, precision) as packed:
        graph = NativeGraph(checkpoint, packed, precision)
        network = graph.finish(add_network(graph))
        spec.versions.check_unchanged()
        return NativeRuntime(*network, size=graph.size)


def add_scorer(graph: Graph, spec: Spec, family: Family, architecture: Architecture) -> Value:
    """Add the network of a cross-encoder and return its logit. Raises UnsupportedModel for an unsuitable head."""
    if not spec.modules:
        _check_head(graph, spec, family)
        return architecture.head(graph, _add_pooled(graph, spec, architecture))
    output_count = spec.modules[-1].config.get("out_features")
    if output_count != 1:
        raise UnsupportedModel(
            f"{spec.folder}: its last module has {output_count or 'many'} outputs, not one score, so it is not a reranker"
        )
    return _add_embedder(graph, spec, family, architecture)


def _add_decoder(graph: Graph, spec: Spec, family: Family, architecture: Architecture, *, output_rows: Sequence[int]) -> Value:
    """Add the network of a decoder and return its logits. Raises UnsupportedModel for an unsuitable head."""
    if not isinstance(architecture, Llama):
        raise UnsupportedModel(f"{spec.folder} is {family.name}, which is not a decoder; use a model of another kind")
    row = architecture.encode(graph, "last")
    head = [module for module in spec.modules if module.kind == "Dense"]
    if head:
        return functools.reduce(functools.partial(add_dense, graph), head, row)
    if not output_rows:
        _check_head(graph, spec, family, label_counts=(1, 2))
        return architecture.head(graph, row)
    matrix = architecture.output_matrix
    if matrix not in graph.checkpoint:
        raise UnsupportedModel(
            f"{spec.folder} has no output matrix ({matrix} missing from its weights), so scores would be random. Use the copy "
            "that its authors published, or another model"
        )
    return graph.table_rows(row, matrix, output_rows)


def _add_embedder(graph: Graph, spec: Spec, family: Family, architecture: Architecture) -> Value:
    """Add the encoder, the pooling and the modules after it. A Normalize is left out: the Embedder normalises the vectors."""
    x = _add_pooled(graph, spec, architecture)
    for module in spec.modules[1:]:
        if module.kind == "Dense":
            x = add_dense(graph, x, module)
        elif module.kind == "LayerNorm":
            x = _graph_with(graph, module).norm(x, f"{module.folder.name}.norm", 1e-5)
    return x


def _add_pooled(graph: Graph, spec: Spec, architecture: Architecture) -> Value:
    """Add the encoder and the pooling. Return one row, or a row per token if the spec's pooling is "none"."""
    hidden = architecture.encode(graph, ROWS[spec.pooling])
    return graph.mean(hidden) if spec.pooling == "mean" else hidden


def _check_head(graph: Graph, spec: Spec, family: Family, label_counts: Sequence[int] = (1,)) -> None:
    """Raise UnsupportedModel if a weight of the head is missing, or if the head has another number of outputs."""
    if missing := [name for name in family.head_weights if name not in graph.checkpoint]:
        raise UnsupportedModel(
            f"{spec.folder} has no trained head ({', '.join(missing)} missing from its weights; its config.json says "
            f"{spec.config.get('architectures')}), so scores would be random. Use the copy that its authors published, or "
            "another model"
        )
    label_shape = graph.checkpoint.shape(family.head_weights[-1])[:1]  # (number of labels,)
    if label_shape not in [(count,) for count in label_counts]:
        label_names = list((spec.config.get("id2label") or {}).values())
        raise UnsupportedModel(
            f"{spec.folder} has {label_shape[0] if label_shape else 'no'} labels {label_names}, not one score: it was "
            "trained to classify. Use a model that was trained to rank, such as cross-encoder/ms-marco-MiniLM-L6-v2"
        )


def add_dense(graph: Graph, x: Value, module: Module) -> Value:
    """Add a Dense of sentence-transformers: a linear layer, an activation, and possibly a residual."""
    name = module.folder.name
    config = module.config
    activation = str(config.get("activation_function") or TANH)
    if not activation.startswith("torch."):
        activation = TANH  # sentence-transformers does not run activations of other packages either.
    projected = _graph_with(graph, module).linear(x, f"{name}.linear", bias=bool(config.get("bias", True)), exact=True)
    activation_name = activation.rpartition(".")[2]
    if activation_name != "Identity":
        projected = graph.activation(projected, activation_name.lower())
    if not config.get("use_residual"):
        return projected
    same_width = config.get("in_features") == config.get("out_features")
    residual = x if same_width else graph.linear(x, f"{name}.residual", bias=False, exact=True)
    return graph.add(projected, residual)


def _graph_with(graph: Graph, module: Module) -> Graph:
    """Add a module's weights to the graph's checkpoint, prefixed with the name of the module's folder. Return the graph."""
    files = weight_files(module.folder)
    if not files and any((module.folder / name).exists() for name in PICKLES):
        raise UnsupportedModel(f"{module.folder} {ONLY_PICKLED}")
    if not files:
        raise UnsupportedModel(f"{module.folder} has no model.safetensors: the head is missing, so scores would be random")
    graph.checkpoint.add(files, f"{module.folder.name}.")
    return graph

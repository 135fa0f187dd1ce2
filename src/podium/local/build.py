"""A model's weights and description → something that runs: encoder, pooling, head, and the checks on what was trained.

A cross-encoder ends in one number, an embedder in a vector; all before that is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from podium.errors import UnsupportedModel
from podium.local.families import Family
from podium.local.files.checkpoint import Array, Checkpoint, weight_files
from podium.local.graph import Graph, Precision
from podium.local.runtimes import NO_CORE, Runtime, RuntimeName, native_core
from podium.local.spec import Module, Spec

__all__ = ["load", "load_embedder", "runtimes_for"]

Result = Callable[[Spec, Family, Any], str]  # adds a whole network to a Graph


def load(spec: Spec, precision: Precision, runtime: RuntimeName) -> Runtime:
    """Return the network ready to run. Raises ModelError where weights are missing, untrained, damaged or unsuitable."""
    if spec.family is None:
        if precision != "float32":
            raise UnsupportedModel(f"{spec.folder} runs from its own ONNX file, as that was made; use precision='float32'")
        from podium.local.runtimes.onnx.runtime import OnnxRuntime

        return OnnxRuntime.from_file(spec.weights[0])
    return _built(spec, spec.family, precision, runtime, _score)


def load_embedder(spec: Spec, precision: Precision, runtime: RuntimeName) -> Runtime:
    """Return a network that gives one vector for a text, not yet normalised. Raises ModelError as `load` does."""
    if spec.family is None:
        raise UnsupportedModel(
            f"{spec.folder} runs only from its own ONNX file, which does not say how it pools; embed with a model of a "
            "family that podium builds itself, such as sentence-transformers/all-MiniLM-L6-v2"
        )
    if not spec.modules:
        raise UnsupportedModel(
            f"{spec.folder} has no modules.json with a Pooling, which says how its rows become one vector; name a "
            "sentence-transformers model, such as sentence-transformers/all-MiniLM-L6-v2"
        )
    if spec.modules[0].config.get("include_prompt") is False:
        raise UnsupportedModel(
            f"{spec.folder} leaves its prompt out of the mean (include_prompt), which podium does not know yet"
        )
    return _built(spec, spec.family, precision, runtime, _vector)


def runtimes_for(spec: Spec, asked: RuntimeName | Literal["auto"] = "auto") -> tuple[RuntimeName, ...]:
    """Return the runtimes that can run a model here, the one that is usually faster first; only the one that is asked for."""
    native = spec.family is not None and spec.family.native
    if asked == "native" and not native:
        kind = spec.family.name if spec.family else "one that runs from its own ONNX file"
        raise UnsupportedModel(f"{spec.folder} is {kind}, which the native core does not run; use runtime='onnx'")
    if asked == "native" and not native_core():
        raise UnsupportedModel(f"podium was installed without its native core ({NO_CORE}); use runtime='onnx'")
    if asked != "auto":
        return (asked,)
    return ("native", "onnx") if native and native_core() else ("onnx",)


def _built(spec: Spec, family: Family, precision: Precision, runtime: RuntimeName, result: Result) -> Runtime:
    checkpoint = Checkpoint(spec.weights, family.prefix)
    try:
        return _RUNTIMES[runtime](spec, family, checkpoint, precision, result)
    except KeyError as error:
        raise UnsupportedModel(f"{spec.folder}: config.json lacks {error.args[0]!r}; bring the model's own again") from error
    finally:
        checkpoint.close()


# The packages that a runtime needs are imported when it is used, not before: that is most of a short program's time.


def _onnx(spec: Spec, family: Family, checkpoint: Checkpoint, precision: Precision, result: Result) -> Runtime:
    from podium.local.runtimes.int8 import Quantised
    from podium.local.runtimes.onnx.graph import OnnxGraph
    from podium.local.runtimes.onnx.runtime import OnnxRuntime

    quantised = Quantised(checkpoint.digest()) if precision == "int8" else None
    graph = OnnxGraph(checkpoint, quantised)
    end = result(spec, family, graph)
    _check_all_read(spec, checkpoint)
    if quantised:
        quantised.save()
    return OnnxRuntime.from_graph(graph, end)


def _native(spec: Spec, family: Family, checkpoint: Checkpoint, precision: Precision, result: Result) -> Runtime:
    from podium.local.runtimes.native.graph import NativeGraph
    from podium.local.runtimes.native.packed import Packed
    from podium.local.runtimes.native.runtime import NativeRuntime

    family = replace(family, head=family.native_head or family.head)

    def built(packed: Packed) -> Runtime:
        graph = NativeGraph(checkpoint, packed, precision)
        made = NativeRuntime(*graph.finish(result(spec, family, graph)))
        _check_all_read(spec, checkpoint)
        return made

    runtime = built(packed := Packed(spec.digest, precision))
    if packed.complete or not packed.save():
        return runtime
    # Built once more from the file just written, whose pages are shared and need not stay in memory.
    del runtime, packed
    return built(Packed(spec.digest, precision))


_RUNTIMES = {"onnx": _onnx, "native": _native}


def _check_all_read(spec: Spec, checkpoint: Checkpoint) -> None:
    if unread := checkpoint.unread_layers():
        raise UnsupportedModel(
            f"{spec.folder}: its weights have layers that its config.json does not ({unread[0]} …); bring both from one place"
        )


def _score(spec: Spec, family: Family, graph: Graph) -> str:
    """Add everything up to the one number that ranks."""
    if not spec.modules:
        _check_head(spec, family, graph.checkpoint)
        return family.head(graph, spec.config, _pooled(spec, family, graph))
    outputs = spec.modules[-1].config.get("out_features")
    if outputs != 1:
        raise UnsupportedModel(
            f"{spec.folder}: its last module gives {outputs or 'many'} numbers, not one score; it is no reranker"
        )
    return _vector(spec, family, graph)


def _vector(spec: Spec, family: Family, graph: Graph) -> str:
    """Add the encoder, the pooling and the steps after it. A Normalize has no weights: who reads the vector does it."""
    row = _pooled(spec, family, graph)
    for module in spec.modules[1:]:
        if module.kind != "Normalize":
            row = _STEPS[module.kind](graph, row, module)
    return row


def _pooled(spec: Spec, family: Family, graph: Graph) -> str:
    hidden = family.encode(graph, spec.config, spec.pooling == "cls")
    return graph.mean(hidden) if spec.pooling == "mean" else hidden


def _check_head(spec: Spec, family: Family, checkpoint: Checkpoint) -> None:
    if missing := [name for name in family.head_weights if name not in checkpoint]:
        raise UnsupportedModel(
            f"{spec.folder} has no trained head ({', '.join(missing)} missing from its weights; its config.json says "
            f"{spec.config.get('architectures')}): scores would be random. Use the copy its authors published, or another model"
        )
    _check_one_label(spec, checkpoint[family.head_weights[-1]])


def _check_one_label(spec: Spec, weight: Array) -> None:
    if len(weight) != 1:
        labels = list((spec.config.get("id2label") or {}).values())
        raise UnsupportedModel(
            f"{spec.folder} gives {len(weight)} labels {labels}, not one score of relevance: it was trained to classify. "
            "Use a model trained to rank, such as cross-encoder/ms-marco-MiniLM-L-6-v2"
        )


def _dense(graph: Graph, row: str, module: Module) -> str:
    if module.config.get("use_residual"):
        raise UnsupportedModel(f"{module.folder} is a Dense with a residual, which podium does not know yet")
    name = str(module.config.get("activation_function") or "torch.nn.modules.activation.Tanh").rpartition(".")[2]
    row = _module_graph(graph, module).linear(
        row, f"{module.folder.name}.linear", bias=bool(module.config.get("bias", True)), exact=True
    )
    return row if name == "Identity" else graph.activation(row, name.lower())


def _layer_norm(graph: Graph, row: str, module: Module) -> str:
    return _module_graph(graph, module).norm(row, f"{module.folder.name}.norm", 1e-5)


def _module_graph(graph: Graph, module: Module) -> Graph:
    """Let the graph read a module's own weights, under the name of its folder."""
    files = weight_files(module.folder)
    if not files:
        raise UnsupportedModel(f"{module.folder} has no model.safetensors: the head is missing and scores would be random")
    graph.checkpoint.add(files, f"{module.folder.name}.")
    return graph


_STEPS = {"Dense": _dense, "LayerNorm": _layer_norm}

"""A model's weights and description → something that runs: encoder, pooling, head, and the checks on what was trained."""

from __future__ import annotations

from podium.errors import UnsupportedModel
from podium.local.checkpoint import Array, Checkpoint, weight_files
from podium.local.families import Family
from podium.local.graph import Graph, Precision
from podium.local.models import Module, Spec
from podium.local.quantised import Quantised
from podium.local.runtimes.onnx import OnnxRuntime

__all__ = ["load"]


def load(spec: Spec, precision: Precision) -> OnnxRuntime:
    """Return the network ready to run. Raises ModelError where weights are missing, untrained, damaged or unsuitable."""
    if spec.family is None:
        if precision != "float32":
            raise UnsupportedModel(f"{spec.folder} runs from its own ONNX file, as that was made; use precision='float32'")
        return OnnxRuntime.from_file(spec.weights[0])
    checkpoint = Checkpoint(spec.weights, spec.family.prefix)
    try:
        if not spec.modules:
            _check_head(spec, spec.family, checkpoint)
        quantised = Quantised(checkpoint.digest()) if precision == "int8" else None
        graph = Graph(checkpoint, quantised)
        result = _result(spec, spec.family, graph)
        if unread := checkpoint.unread_layers():
            raise UnsupportedModel(
                f"{spec.folder}: its weights have layers that its config.json does not ({unread[0]} …); "
                "bring both from one place"
            )
        if quantised:
            quantised.save()
        return OnnxRuntime.from_graph(graph, result)
    except KeyError as error:
        raise UnsupportedModel(f"{spec.folder}: config.json lacks {error.args[0]!r}; bring the model's own again") from error
    finally:
        checkpoint.close()


def _result(spec: Spec, family: Family, graph: Graph) -> str:
    hidden = family.encode(graph, spec.config, spec.pooling == "cls")
    row = graph.mean(hidden) if spec.pooling == "mean" else hidden
    if not spec.modules:
        return family.head(graph, spec.config, row)
    for module in spec.modules[1:]:
        row = _STEPS[module.kind](graph, row, module)
    outputs = spec.modules[-1].config.get("out_features")
    if outputs != 1:
        raise UnsupportedModel(
            f"{spec.folder}: its last module gives {outputs or 'many'} numbers, not one score; it is no reranker"
        )
    return row


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

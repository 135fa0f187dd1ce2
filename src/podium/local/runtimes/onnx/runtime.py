"""ONNX Runtime: a graph of ours, or the ONNX file that a repository ships, run one pair at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from podium.errors import ModelError, UnsupportedModel
from podium.forks import no_fork
from podium.local.files.checkpoint import Array
from podium.local.runtimes import RuntimeName
from podium.local.runtimes.onnx.graph import OnnxGraph

__all__ = ["OnnxRuntime"]

# Slower than what it replaces: one row at a time, where Add and LayerNormalization apart are vectorised.
UNWANTED_FUSIONS = ["SkipLayerNormFusion"]


class OnnxRuntime:
    """A loaded network. `run` may be called from several threads at once; each call computes on its own thread."""

    name: RuntimeName = "onnx"
    tokens_at_once = 1

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._inputs = {each.name for each in session.get_inputs()}
        self._outputs = [session.get_outputs()[0].name]
        if unknown := self._inputs - {"input_ids", "attention_mask", "token_type_ids"}:
            raise UnsupportedModel(f"its ONNX file wants the inputs {sorted(unknown)}, which a cross-encoder does not have")

    @classmethod
    def from_graph(cls, graph: OnnxGraph, result: str) -> OnnxRuntime:
        options = _options()
        # Our graphs are written as they should run: nothing is left to optimise, so nothing is looked for.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        model = graph.model(result)
        outside = [tensor.name for tensor in model.graph.initializer if tensor.external_data]
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(graph.weights[name]) for name in outside]
        options.add_external_initializers(outside, values)
        return cls(_session(model.SerializeToString(), options, []))

    @classmethod
    def from_file(cls, path: Path) -> OnnxRuntime:
        return cls(_session(str(path), _options(), UNWANTED_FUSIONS))

    def run(self, ids: Sequence[Array], segments: Sequence[Array]) -> Array:
        """Return what pairs or texts give, float32 of shape (texts, outputs). Each of `ids` has shape (tokens,)."""
        return np.stack([self._one(*each) for each in zip(ids, segments, strict=True)])

    def _one(self, ids: Array, segments: Array) -> Array:
        given = {"input_ids": ids, "attention_mask": np.ones(len(ids)), "token_type_ids": segments}
        feeds: dict[str, Any] = {name: given[name][None].astype(np.int64) for name in self._inputs}
        try:
            with no_fork:  # the session's locks
                (logits,) = self._session.run(self._outputs, feeds)
        except Exception as error:  # onnxruntime's own errors share no base but this
            raise ModelError(f"ONNX Runtime failed on {len(ids)} tokens: {type(error).__name__}") from error
        return np.asarray(logits, np.float32).reshape(-1)


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; nothing is printed
    return options


def _session(model: bytes | str, options: Any, unwanted: list[str]) -> onnxruntime.InferenceSession:
    try:
        with no_fork:
            return onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], disabled_optimizers=unwanted
            )
    except Exception as error:  # as above
        raise ModelError(f"ONNX Runtime will not load this model: {str(error)[:200]}") from error

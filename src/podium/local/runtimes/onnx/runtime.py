"""OnnxRuntime, a network that ONNX Runtime runs, one text at a time. It comes from an OnnxGraph or a model's ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from podium.errors import ModelError, UnsupportedModel
from podium.forks import no_fork
from podium.local.files.checkpoint import Array
from podium.local.graph import Value
from podium.local.runtimes.onnx.graph import OnnxGraph

__all__ = ["OnnxRuntime"]

# This fusion's operator is slower than the two that it replaces: it is not vectorised, while Add and LayerNormalization are.
SLOW_FUSIONS = ["SkipLayerNormFusion"]
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}  # the inputs that a model's own ONNX file may have


class OnnxRuntime:
    """A loaded network. `run` may be called from several threads at once; each call computes on its own thread."""

    tokens_at_once = 1  # one text at a time

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._inputs = {tensor.name for tensor in session.get_inputs()}
        self._outputs = [session.get_outputs()[0].name]
        if unknown := self._inputs - INPUTS:
            raise UnsupportedModel(f"its ONNX file needs the inputs {sorted(unknown)}, which a cross-encoder does not have")

    @classmethod
    def from_graph(cls, graph: OnnxGraph, result: Value) -> OnnxRuntime:
        options = _options()
        # The graph is written as it should run, so searching for optimisations would only take time.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        model = graph.model(result)
        external_names = [tensor.name for tensor in model.graph.initializer if tensor.external_data]
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(graph.weights[name]) for name in external_names]
        options.add_external_initializers(external_names, values)
        return cls(_session(model.SerializeToString(), options))

    @classmethod
    def from_file(cls, path: Path) -> OnnxRuntime:
        return cls(_session(str(path), _options(), disabled_optimizers=SLOW_FUSIONS))

    def run(self, ids: Sequence[Array], segments: Sequence[Array]) -> Array:
        """Return the network's outputs, float32 of shape (texts, outputs), or (tokens of all texts, outputs)."""
        return np.concatenate([self._run_one(*text) for text in zip(ids, segments, strict=True)])

    def shared_work(self, ids: Sequence[Array], segments: Sequence[Array], shared_tokens: Sequence[int]) -> None:
        return None

    def _run_one(self, ids: Array, segments: Array) -> Array:
        """Return the outputs for one text, of shape (1, outputs) or (tokens, outputs). Raises ModelError."""
        inputs = {"input_ids": ids, "attention_mask": np.ones(len(ids)), "token_type_ids": segments}
        feeds: dict[str, Any] = {name: inputs[name][None].astype(np.int64) for name in self._inputs}
        try:
            with no_fork:  # a session's locks would stay locked in the forked process
                (logits,) = self._session.run(self._outputs, feeds)
        except Exception as error:  # onnxruntime's errors have no other common base class
            raise ModelError(f"ONNX Runtime failed on {len(ids)} tokens: {type(error).__name__}") from error
        rows = np.asarray(logits, np.float32)
        return rows if rows.ndim == 2 else rows.reshape(1, -1)


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, so nothing needs to be printed
    return options


def _session(
    model: bytes | str, options: onnxruntime.SessionOptions, disabled_optimizers: Sequence[str] = ()
) -> onnxruntime.InferenceSession:
    try:
        with no_fork:
            return onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled_optimizers)
            )
    except Exception as error:
        raise ModelError(f"ONNX Runtime cannot load this model: {str(error)[:200]}") from error

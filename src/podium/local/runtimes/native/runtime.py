"""NativeRuntime, a network that the native core runs. Several texts are computed together, without padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from podium._native import Network
from podium.errors import Argument, ModelError
from podium.forks import no_fork
from podium.local.files.checkpoint import Array

__all__ = ["NativeRuntime"]


class NativeRuntime:
    """A loaded network. `run` may be called from several threads at once; each call computes on its own thread.

    A text's outputs are the same, bit for bit, whatever texts are computed with it.
    """

    tokens_at_once = 256  # The rows of this many tokens share one pass over the weights, and fit in the second-level cache.

    def __init__(self, network: Network, output_count: int, per_token: bool = False) -> None:
        self.network = network
        self.output_count = output_count
        self._per_token = per_token

    def run(self, ids: Sequence[Array], segments: Sequence[Array]) -> Array:
        """Return the network's outputs, float32 of shape (texts, outputs), or (tokens of all texts, outputs)."""
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(text) for text in ids], out=offsets[1:])
        result = np.empty((offsets[-1] if self._per_token else len(ids), self.output_count), np.float32)
        try:
            with no_fork:  # the network's lock would stay locked in the forked process
                self.network.run(ids=_joined(ids), segments=_joined(segments), offsets=offsets, result=result)
        except (ValueError, IndexError) as error:
            raise ModelError(f"the native core refused {len(ids)} texts: {error}; download the model again") from error
        except MemoryError as error:
            raise ModelError(f"not enough memory for {offsets[-1]} tokens at once; lower ", Argument("max_length")) from error
        return result


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate(arrays).astype(np.int32, copy=False)

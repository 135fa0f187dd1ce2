"""The native core: many pairs at once, end to end and never padded, on the widest instructions this processor has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from podium.errors import ModelError
from podium.local.files.checkpoint import Array
from podium.local.runtimes import RuntimeName

if TYPE_CHECKING:
    from podium._native import Network

__all__ = ["NativeRuntime"]


class NativeRuntime:
    """A loaded network. `run` may be called from several threads at once; each call computes on its own thread.

    What a pair gives does not depend on the pairs it is computed with, bit for bit.
    """

    name: RuntimeName = "native"
    # So many rows share one pass over the weights, and still fit the second cache.
    tokens_at_once = 256

    def __init__(self, network: Network, outputs: int) -> None:
        self.network, self._outputs = network, outputs
        self.instruction_set = network.instruction_set

    def run(self, ids: Sequence[Array], segments: Sequence[Array]) -> Array:
        """Return what pairs or texts give, float32 of shape (texts, outputs). Each of `ids` has shape (tokens,)."""
        result = np.empty((len(ids), self._outputs), np.float32)
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(each) for each in ids], out=offsets[1:])
        try:
            self.network.run(_joined(ids), _joined(segments), offsets, result)
        except (ValueError, IndexError) as error:
            raise ModelError(f"the native core refused {len(ids)} texts: {error}; bring the model's own files again") from error
        except MemoryError as error:
            raise ModelError(f"there is not enough memory for {offsets[-1]} tokens at once; lower max_length=") from error
        return result


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate(arrays).astype(np.int32, copy=False)

"""NativeRuntime, a network that the native core runs. Several texts are computed together, without padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from podium._native import Network
from podium.forks import no_fork
from podium.local.files.checkpoint import Array
from podium.local.runtimes.native.shared_work import MAX_PREFIX_BYTES, SharedWork, native_errors

__all__ = ["NativeRuntime"]

MIN_SHARED_WORK = 1_000_000_000  # So many multiplications take about 2 ms. Fewer are not worth waking up other threads.


class NativeRuntime:
    """A loaded network. `run` may be called from several threads at once; each call computes on its own thread.

    A text's outputs are the same, bit for bit, whatever texts are computed with it.

    `size`: how many multiplications a token takes in the layers of the network.
    """

    tokens_at_once = 256  # The rows of this many tokens share one pass over the weights, and fit in the second-level cache.

    def __init__(self, network: Network, output_count: int, per_token: bool = False, *, size: int = 0) -> None:
        self.network = network
        self.output_count = output_count
        self.per_token = per_token
        self.size = size

    @property
    def max_prefix_tokens(self) -> int:
        """How many tokens of a prefix can be shared, 0 if the network cannot share one."""
        columns = self.network.prefix_columns
        return MAX_PREFIX_BYTES // (4 * columns) if columns else 0

    def run(self, ids: Sequence[Array], segments: Sequence[Array]) -> Array:
        """Return the network's outputs, float32 of shape (texts, outputs), or (tokens of all texts, outputs)."""
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum([len(text) for text in ids], out=offsets[1:])
        result = np.empty((offsets[-1] if self.per_token else len(ids), self.output_count), np.float32)
        # The network's lock would stay locked in a forked process.
        with native_errors(len(ids), offsets[-1]), no_fork:
            self.network.run(ids=_joined(ids), segments=_joined(segments), offsets=offsets, result=result)
        return result

    def shared_work(self, ids: Sequence[Array], segments: Sequence[Array], shared_tokens: Sequence[int]) -> SharedWork | None:
        """Return the work on texts that several threads can compute together, None if this would not be faster."""
        work = self.size * sum(map(len, ids))
        if work < MIN_SHARED_WORK and not any(shared_tokens):
            return None
        return SharedWork(self, ids, segments, shared_tokens)


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate(arrays).astype(np.int32, copy=False)

"""SharedWork, the texts of one call on a large network, which idle workers help each other to compute.

The texts that begin with the same tokens are a group. The keys and values of these tokens, the prefix, are computed once,
before the first text of the group, and are freed after the last one. Neither a prefix nor another worker changes a bit of a
result.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from podium._native import Execution, Flag, Prefix, TextsExecution
from podium.errors import Argument, ModelError, PodiumError
from podium.forks import no_fork
from podium.local.files.checkpoint import Array

if TYPE_CHECKING:
    from podium.local.runtimes.native.runtime import NativeRuntime

__all__ = ["SharedWork", "native_errors"]

MAX_PREFIX_BYTES = (
    256 << 20
)  # A longer prefix is shared only in part, so that its keys and values have no more bytes than this.
MIN_PREFIX_TOKENS = 8  # Computing so few tokens again takes less time than a run for them.
NO_GROUP = 0


class SharedWork:
    """Texts to compute, by index.

    - `ids`, `segments`: one array of shape (tokens,) per text.
    - `shared_tokens`: how many of the first ids a text has in common with others.

    `groups` has the number of each text's group, and `lengths` the number of its tokens that are computed.
    """

    def __init__(
        self, runtime: NativeRuntime, ids: Sequence[Array], segments: Sequence[Array], shared_tokens: Sequence[int]
    ) -> None:
        self._runtime = runtime
        self._ids = ids
        self._segments = segments
        numbers: dict[bytes, int] = {b"": NO_GROUP}
        prefixes = [_prefix(*text, runtime.max_prefix_tokens).tobytes() for text in zip(ids, shared_tokens, strict=True)]
        counts = Counter(prefixes)
        keys = [prefix if counts[prefix] > 1 else b"" for prefix in prefixes]
        self.groups = [numbers.setdefault(key, len(numbers)) for key in keys]
        self._prefix_ids = [np.frombuffer(key, np.int32) for key in numbers]
        self.lengths = [len(text) - len(self._prefix_ids[group]) for text, group in zip(ids, self.groups, strict=True)]
        # Guarded by the condition, which is notified when one of the first two changes:
        self._changed = threading.Condition()
        self._executions: list[Execution] = []  # those that workers are computing
        self._running_count = 0  # how many calls of `run` have not ended
        self._is_cancelled = False
        self._helper_flags: list[Flag] = []
        self._prefixes: dict[int, Prefix] = {}
        self._remaining = Counter(self.groups)  # by group, the number of texts that have not been computed

    def run(self, indices: Sequence[int]) -> Array:
        """Return the network's outputs for texts of one group, as `NativeRuntime.run` does.

        Raises CancelledError after `cancel`, and ModelError.
        """
        group = self.groups[indices[0]]
        with self._running():
            prefix = self._complete_prefix(group) if group != NO_GROUP else None
            start = prefix.tokens if prefix else 0
            ids = [self._ids[index][start:] for index in indices]
            texts = np.concatenate(ids)
            offsets = np.zeros(len(ids) + 1, np.int64)
            np.cumsum([len(text) for text in ids], out=offsets[1:])
            result = np.empty((offsets[-1] if self._runtime.per_token else len(ids), self._runtime.output_count), np.float32)
            segments = np.concatenate([self._segments[index][start:] for index in indices])
            with native_errors(len(ids), len(texts)):
                with no_fork:
                    execution = TextsExecution(self._runtime.network, texts, segments, offsets, result, prefix)
                self._compute(execution)
            self._forget(group, len(indices))
        return result

    def help(self, leave: Flag) -> None:
        """Take part in an execution of another worker, until it ends, or `leave` is set. Return if `run` is not running."""
        with self._changed:
            self._changed.wait_for(lambda: self._executions or not self._running_count or leave.is_set)
            execution = self._executions[0] if self._executions else None
            if len(self._executions) > 1:  # The next helper takes part in another one.
                self._executions.append(self._executions.pop(0))
        if execution:
            with suppress(Exception), no_fork:  # An error is raised in the worker that computes the text.
                execution.work(leave)
        with self._changed:
            self._helper_flags.remove(leave)

    def new_helper(self) -> Flag | None:
        """Return the flag for a call of `help`, None if there is nothing to help with."""
        with self._changed:
            if not self._running_count:
                return None
            flag = Flag()
            self._helper_flags.append(flag)
            return flag

    def release_helpers(self) -> None:
        """Let all calls of `help` return soon, because there is other work for their workers."""
        with self._changed:
            for flag in self._helper_flags:
                flag.set()
            self._changed.notify_all()

    def cancel(self) -> None:
        """End all executions within a layer, and let no other begin."""
        with self._changed:
            self._is_cancelled = True
            executions = list(self._executions)
        for execution in executions:
            execution.cancel()

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Count a call of `run`."""
        with self._changed:
            self._running_count += 1
        try:
            yield
        finally:
            with self._changed:
                self._running_count -= 1
                self._changed.notify_all()

    def _complete_prefix(self, group: int) -> Prefix:
        """Return the prefix of a group. Workers that need the same prefix compute it together."""
        ids = self._prefix_ids[group]
        with native_errors(1, len(ids)):
            with self._changed, no_fork:
                if group not in self._prefixes:
                    self._prefixes[group] = Prefix(self._runtime.network, ids)
                prefix = self._prefixes[group]
            self._compute(prefix)
        return prefix

    def _forget(self, group: int, count: int) -> None:
        """Count texts that were computed, and free the prefix after the last one."""
        with self._changed:
            self._remaining[group] -= count
            if not self._remaining[group]:
                self._prefixes.pop(group, None)

    def _compute(self, execution: Execution) -> None:
        with self._changed:
            if self._is_cancelled:
                raise CancelledError
            self._executions.append(execution)
            self._changed.notify_all()
        try:
            with no_fork:
                is_complete = execution.work()
        finally:
            with self._changed:
                self._executions.remove(execution)
        if not is_complete:
            raise CancelledError


def _prefix(ids: Array, shared_tokens: int, max_tokens: int) -> Array:
    """Return the ids of a text that are computed together with those of other texts."""
    count = min(shared_tokens, max_tokens, len(ids) - 1)
    return np.ascontiguousarray(ids[: count if count >= MIN_PREFIX_TOKENS else 0], np.int32)


@contextmanager
def native_errors(text_count: int, token_count: int) -> Iterator[None]:
    """Turn the core's errors about texts into ModelError."""
    try:
        yield
    except PodiumError:
        raise
    except (ValueError, IndexError) as error:
        raise ModelError(f"the native core refused {text_count} texts: {error}; download the model again") from error
    except MemoryError as error:
        raise ModelError(f"not enough memory for {token_count} tokens at once; lower ", Argument("max_length")) from error

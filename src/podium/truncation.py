"""TruncationWarning, which is shown once per process and model if the model did not read some texts completely."""

from __future__ import annotations

import os
import sys
import threading
import warnings

from podium.types import Scores

__all__ = ["TruncationWarning", "warn_of_truncation"]

_PACKAGE = os.path.dirname(__file__)
_lock = threading.Lock()
_warned_models: set[str] = set()


class TruncationWarning(UserWarning):
    """A model did not read some texts completely. The message has the share that was not read, and a remedy.

    It is issued once per process and model. `dropped_tokens` and `notes` of every ranking say it each time.
    """


def warn_of_truncation(model: str, scores: Scores) -> None:
    """Issue a TruncationWarning if tokens were dropped and none was issued for this model before."""
    dropped = [count or 0 for count in scores.dropped_tokens or ()]
    if not any(dropped):
        return
    with _lock:
        if model in _warned_models:
            return
        _warned_models.add(model)
    read = sum(count or 0 for count in scores.tokens or ())
    share = f"{sum(dropped) / (read + sum(dropped)):.0%} of the text" if scores.tokens is not None else "a part of the text"
    long_count = sum(map(bool, dropped))
    warnings.warn(
        f"{model} did not read {share}, because {long_count} of {len(dropped)} documents are longer than it reads; "
        "podium.Reranker(podium.Passages(reranker)) reads them completely",
        TruncationWarning,
        stacklevel=_stacklevel(),
    )


def _stacklevel() -> int:
    """Return the `stacklevel` with which the warning of the caller is attributed to the code that called podium."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    return level

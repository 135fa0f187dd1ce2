"""What every scorer around another hands through: whose scores they are, and what closes it."""

from __future__ import annotations

from podium.types import Scorer

__all__ = ["Wrapped"]


class Wrapped:
    """The half of a scorer that is another's. `scorer` is the other."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    @property
    def model(self) -> str:
        return self.scorer.model

    @property
    def revision(self) -> str | None:
        return self.scorer.revision

    def close(self) -> None:
        if callable(close := getattr(self.scorer, "close", None)):
            close()

    async def aclose(self) -> None:
        if callable(aclose := getattr(self.scorer, "aclose", None)):
            await aclose()
        else:
            self.close()

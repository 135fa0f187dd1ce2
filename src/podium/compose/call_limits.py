"""CallLimits, what a call with a budget may use: time, tokens and money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from podium.errors import Argument, InvalidInput
from podium.inputs import check_positive, check_positive_number

__all__ = ["CallLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """What a call may use: milliseconds, tokens, and US dollars. None means no limit. Raises InvalidInput.

    `price` is the model's price, such as "0.05/Mtokens" or "2/ksearches", if it is not in podium's list.
    """

    budget_ms: float | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    price: str | None = None

    def __post_init__(self) -> None:
        if self.budget_ms is not None:
            check_positive_number("budget_ms", self.budget_ms)
        if self.max_tokens is not None:
            check_positive("max_tokens", self.max_tokens)
        if self.max_cost is not None:
            check_positive_number("max_cost", self.max_cost)
        elif self.price is not None:
            raise InvalidInput(Argument("price"), " is only for ", Argument("max_cost"), "; set both, or leave it out")

    def lowest(self, other: CallLimits) -> CallLimits:
        """Return the lower one of both for each limit. The price is that of `self`, if it has one."""

        def lower(name: str) -> Any:
            return min((limit for limit in (getattr(self, name), getattr(other, name)) if limit is not None), default=None)

        limits = {name: lower(name) for name in ("budget_ms", "max_tokens", "max_cost")}
        return CallLimits(**limits, price=self.price or other.price)

    @property
    def is_unlimited(self) -> bool:
        return self.budget_ms is None and self.max_tokens is None and self.max_cost is None

    def __str__(self) -> str:
        amounts = {"ms": self.budget_ms, "tokens": self.max_tokens, "US dollars": self.max_cost}
        return ", ".join(f"{amount:g} {unit}" for unit, amount in amounts.items() if amount is not None)

"""Prices of hosted models, and estimates of what calls cost.

Costs are estimates: a provider may bill other numbers of tokens, and prices change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from podium.errors import Argument, InvalidInput

__all__ = [
    "CHARACTERS_PER_SEARCH_DOCUMENT",
    "CHARACTERS_PER_TOKEN",
    "DOCUMENTS_PER_SEARCH",
    "Price",
    "find_price",
    "missing_price",
    "parse_price",
    "search_count",
]

CHARACTERS_PER_TOKEN = 4  # about, in English
DOCUMENTS_PER_SEARCH = 100
CHARACTERS_PER_SEARCH_DOCUMENT = 2000  # a longer document counts as several, of about 500 tokens each


@dataclass(frozen=True, slots=True)
class Price:
    """A price in US dollars per `unit`, a key of UNITS. A search is a request with up to 100 documents.

    `source` says where and when the price was listed.
    """

    dollars: float
    unit: str
    source: str = "the option price"

    def __str__(self) -> str:
        return f"{self.dollars:g} US dollars per {UNITS[self.unit]} ({self.source})"

    def cost(self, tokens: float, searches: float) -> float:
        return self.dollars * (tokens / 1e6 if self.unit == "Mtokens" else searches / 1e3)

    def most_tokens(self, dollars: float) -> float:
        """Return how many tokens can be paid with an amount. Infinity if tokens are not charged."""
        return dollars / self.dollars * 1e6 if self.unit == "Mtokens" and self.dollars else math.inf

    def most_searches(self, dollars: float) -> float:
        """Return how many searches can be paid with an amount. Infinity if searches are not charged."""
        return dollars / self.dollars * 1e3 if self.unit == "ksearches" and self.dollars else math.inf


UNITS = {"Mtokens": "million tokens", "ksearches": "thousand searches"}
"""Unit of a price, as in 0.05/Mtokens → its name."""

PRICES = {
    "voyage:rerank-2.5": Price(0.05, "Mtokens", "openrouter.ai/voyageai on 27 July 2026"),
    "voyage:rerank-2.5-lite": Price(0.02, "Mtokens", "openrouter.ai/voyageai on 27 July 2026"),
}
"""Model → its list price. Only prices with a source and a date are listed."""


def parse_price(text: str) -> Price:
    """Return the price in a text such as 0.05/Mtokens or 2/ksearches. Raises InvalidInput."""
    amount, _, unit = text.partition("/") if isinstance(text, str) else ("", "", "")
    try:
        dollars = float(amount)
    except ValueError:
        dollars = math.nan
    if unit not in UNITS or not 0 <= dollars < math.inf:
        raise InvalidInput(Argument("price"), f" is written as 0.05/Mtokens or 2/ksearches, not {text!r:.40}")
    return Price(dollars, unit)


def find_price(model: str, price: str | None) -> Price | None:
    """Return the price that a user has named, or else the list price of a model, None if it is unknown."""
    return PRICES.get(model) if price is None else parse_price(price)


def missing_price() -> InvalidInput:
    """Return the error for a maximum cost of a model whose price is unknown."""
    problem = " needs the price of the model, which is not listed; name it with "
    return InvalidInput(Argument("max_cost"), problem, Argument("price", "0.05/Mtokens"))


def search_count(texts: Sequence[str], characters_per_document: int = CHARACTERS_PER_SEARCH_DOCUMENT) -> int:
    """Return the number of searches that are billed for texts, if a document has at most this many characters."""
    return math.ceil(sum(max(1, math.ceil(len(text) / characters_per_document)) for text in texts) / DOCUMENTS_PER_SEARCH)

"""Texts, the texts of a call together with the documents that they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Texts", "documents_of", "selected_texts"]


class Texts(tuple[str, ...]):
    """The texts that a Reranker passes to its scorer. `documents` has the caller's document of each text.

    Most scorers read only the texts. Some scorers made of other scorers also read a document's title or its source's score.

        >>> texts = Texts(["a", "b"], [{"text": "a", "title": "A"}, {"text": "b", "title": "B"}])
        >>> texts.selected([1]).documents
        [{'text': 'b', 'title': 'B'}]
    """

    documents: Sequence[Any]

    def __new__(cls, texts: Iterable[str], documents: Sequence[Any]) -> Texts:
        instance = super().__new__(cls, texts)
        instance.documents = documents
        return instance

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return the arguments of `__new__`, for copy and pickle."""
        return tuple(self), self.documents

    def selected(self, positions: Iterable[int]) -> Texts:
        """Return the texts at these positions, in this order, with their documents."""
        positions = list(positions)
        return Texts([self[position] for position in positions], [self.documents[position] for position in positions])


def selected_texts(texts: Sequence[str], positions: Iterable[int]) -> Sequence[str]:
    """Return the texts at these positions, with their documents if `texts` has documents."""
    if isinstance(texts, Texts):
        return texts.selected(positions)
    return [texts[position] for position in positions]


def documents_of(texts: Sequence[str]) -> Sequence[Any] | None:
    """Return the document of each text, None if `texts` are only strings, as in a direct call of a scorer."""
    return texts.documents if isinstance(texts, Texts) else None

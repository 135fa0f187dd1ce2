"""TokenCounter, which counts tokens as a model does, so that a long text can be divided into parts that the model reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["GROUP_CHARACTERS", "GROUP_INPUTS", "EstimatedTokens", "SeveralCounters", "TokenCounter", "groups_to_tokenise"]

Input = TypeVar("Input")

# A group has at most this many inputs and characters, so that it is tokenised in a few milliseconds.
GROUP_INPUTS = 64
GROUP_CHARACTERS = 200_000


def groups_to_tokenise(inputs: Iterable[Input], character_count: Callable[[Input], int]) -> Iterator[list[Input]]:
    """Yield the inputs in lists that are tokenised together. An input that is longer than a group is a group."""
    group: list[Input] = []
    group_characters = 0
    for item in inputs:
        count = character_count(item)
        if group and (len(group) == GROUP_INPUTS or group_characters + count > GROUP_CHARACTERS):
            yield group
            group = []
            group_characters = 0
        group.append(item)
        group_characters += count
    if group:
        yield group


class TokenCounter(Protocol):
    """Counts the tokens of texts. Safe to share between threads."""

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text. Special tokens do not count."""
        ...

    def token_starts(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """Return the position of the first character of each token of each text. That takes longer than counting them."""
        ...

    def text_limit(self, query: str) -> int:
        """Return how many tokens of a text the model reads together with a query."""
        ...


class EstimatedTokens:
    """An estimate for models whose tokenizer is not on this machine: a token has three ASCII characters or one other character.

    Tokenizers of English text have about four characters per token, so most texts have fewer tokens. `limit` is the number of
    tokens that the model reads of a text.

        >>> EstimatedTokens(100).token_starts(["capital", "東京"])
        [[0, 3, 6], [0, 1]]
    """

    ascii_characters_per_token = 3

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [len(self._starts(text)) for text in texts]

    def token_starts(self, texts: Sequence[str]) -> list[Sequence[int]]:
        return [self._starts(text) for text in texts]

    def text_limit(self, query: str) -> int:
        return self._limit

    def _starts(self, text: str) -> list[int]:
        if text.isascii():
            return list(range(0, len(text), self.ascii_characters_per_token))
        starts = []
        ascii_count = 0  # characters of the current token
        for position, character in enumerate(text):
            if not character.isascii() or ascii_count % self.ascii_characters_per_token == 0:
                starts.append(position)
            ascii_count = ascii_count + 1 if character.isascii() else 0
        return starts


class SeveralCounters:
    """The counters of several models that read the same texts: the lowest limit, and the tokenizer that makes most tokens."""

    def __init__(self, counters: Sequence[TokenCounter]) -> None:
        self._counters = counters

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return list(map(max, *(counter.token_counts(texts) for counter in self._counters)))

    def token_starts(self, texts: Sequence[str]) -> list[Sequence[int]]:
        starts_per_counter = [counter.token_starts(texts) for counter in self._counters]
        return [max(candidates, key=len) for candidates in zip(*starts_per_counter, strict=True)]

    def text_limit(self, query: str) -> int:
        return min(counter.text_limit(query) for counter in self._counters)

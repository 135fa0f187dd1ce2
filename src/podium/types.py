"""The words of the package: what a scorer takes and gives, and what a ranking holds. No behaviour beyond that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, overload, runtime_checkable

from podium.documents import as_json
from podium.errors import InvalidInput

__all__ = [
    "AsyncScorer",
    "AsyncSource",
    "Candidates",
    "Embed",
    "ManyScorer",
    "Progress",
    "Ranking",
    "Result",
    "ScoreKind",
    "Scorer",
    "Scores",
    "Source",
    "Usage",
]

ScoreKind = Literal["logit", "sigmoid", "probability", "similarity", "fused"]
"""What a score means. Scores of different kinds, or of different models, cannot be compared.

"logit": any real number. "sigmoid": between 0 and 1 and higher for more relevant documents, but not calibrated; 0.9 does
not mean that nine of ten such documents are relevant. "probability": calibrated, so it does. "similarity": from -1 to 1.
"fused": a mixture of several scores.
"""

Progress = Callable[[int], None]
"""Called with how many more texts have been scored."""

Embed = Callable[[list[str]], Any]
"""Texts → vectors, an array or lists of shape (texts, dimensions). An `embed_query` attribute, str → vector, is for queries."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call took.

    `pairs` (query, text) were asked for; `tokens` were computed or billed; `truncated` documents were longer than was
    read; `billed` is what a provider says it charges, under its own names; `seconds` is wall time; `source_seconds` is what
    finding the candidates took before, where a Search did that. None: not known.
    """

    pairs: int = 0
    tokens: int | None = None
    truncated: int | None = None
    billed: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    source_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """What a scorer gives for one query: a number per text, in the order of the texts.

    `values` are what users see; `raw` decide the order where they are given (a sigmoid in front of them would make
    ties). `tokens` and `dropped_tokens` are per text, None where a provider doesn't say; `query_tokens` and
    `query_dropped_tokens` are those of the query beside each text. `billed` and `notes` as on Usage and Ranking.
    """

    values: Sequence[float]
    raw: Sequence[float] | None = None
    tokens: Sequence[int | None] | None = None
    dropped_tokens: Sequence[int | None] | None = None
    query_tokens: Sequence[int | None] | None = None
    query_dropped_tokens: Sequence[int | None] | None = None
    total_tokens: int | None = None
    billed: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Scorer(Protocol):
    """The seam: anything that gives one number per text. `model`, `revision` and `score_kind` go on every ranking."""

    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def score_kind(self) -> ScoreKind: ...

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score each text (none is blank) for the query. Safe to call from several threads."""
        ...


@runtime_checkable
class AsyncScorer(Protocol):
    """A scorer that waits without a thread, or that stops when cancelled."""

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores: ...


@runtime_checkable
class ManyScorer(Protocol):
    """A scorer that does better when it sees many queries at once; also how progress is told."""

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]: ...


class Candidates(list[Any]):
    """The documents that a source found, best first: a list, with what else the source knows.

    `notes` say what a reader should know, such as an index that is still being built. `total` may be given as a function,
    which is called when it is first needed.
    """

    def __init__(
        self, documents: Iterable[Any] = (), *, total: int | Callable[[], int] | None = None, notes: Iterable[str] = ()
    ) -> None:
        super().__init__(documents)
        self._total, self.notes = total, tuple(notes)

    @property
    def total(self) -> int | None:
        """How many documents match, None if unknown. A search by vectors ranks every document, so all of them match."""
        if callable(self._total):
            self._total = self._total()
        return self._total


class Source(Protocol):
    """Where candidates come from."""

    def search(self, query: str, limit: int) -> list[Any]:
        """Return at most `limit` documents, best first; mappings may say `source_score` and `source_rank` (from 1).

        podium's own sources return Candidates, and take `offset`, how many of the best to leave out.
        """
        ...


@runtime_checkable
class AsyncSource(Protocol):
    """A source that waits without a thread."""

    async def asearch(self, query: str, limit: int) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Result:
    """One document with what belongs to it. The document stays out of the repr: reprs end up in logs.

    `document` is the caller's own object; `rank` counts from 1; `index` is its place in the input. `tokens` is how many
    tokens of its text the model read, `dropped_tokens` how many it did not (None: a provider that doesn't say).
    `no_text`: the document was None or empty, so it was not scored and stands at the bottom. `source_score` and
    `source_rank` (from 1) are what the search before said, where the document came from one.
    """

    document: Any = field(repr=False)
    score: float
    rank: int
    index: int
    tokens: int | None = None
    dropped_tokens: int | None = None
    no_text: bool = False
    source_score: float | None = None
    source_rank: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as `json.dumps` takes it."""
        return {
            "rank": self.rank,
            "index": self.index,
            "score": self.score,
            "tokens": self.tokens,
            "dropped_tokens": self.dropped_tokens,
            "no_text": self.no_text,
            "source_score": self.source_score,
            "source_rank": self.source_rank,
            "document": self._document_as_json(),
        }

    def _document_as_json(self) -> Any:
        try:
            return as_json(self.document)
        except RecursionError as error:
            raise InvalidInput(f"document {self.index} holds itself, or is too deep to be written as JSON") from error


@dataclass(frozen=True, slots=True, repr=False)
class Ranking(Sequence[Result]):
    """Results in order of relevance, best first, and how they came about.

    `notes` says in words whatever a reader should know before trusting the order, such as texts cut short. `total` is how
    many documents matched in the source, where a Search asked one that knows.
    """

    results: tuple[Result, ...]
    model: str
    revision: str | None
    score_kind: ScoreKind
    usage: Usage
    notes: tuple[str, ...] = ()
    total: int | None = None

    @overload
    def __getitem__(self, at: int) -> Result: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Result]: ...
    def __getitem__(self, at: int | slice) -> Result | Sequence[Result]:
        return self.results[at]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __repr__(self) -> str:
        scores = [result.score for result in self.results if not result.no_text]
        reach = f", {self.score_kind} scores {scores[0]:.4g} to {scores[-1]:.4g}" if scores else ""
        count = f"{len(self)} result{'' if len(self) == 1 else 's'}"
        return f"<Ranking of {count} by {self.model}{reach}, {len(self.notes)} notes; iterate over it, or use to_dict()>"

    def _repr_html_(self) -> str:
        """Return a table for a notebook, documents included."""
        from podium.notebook import table

        return table(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole ranking as `json.dumps` takes it."""
        usage = {name: getattr(self.usage, name) for name in ("pairs", "tokens", "truncated", "seconds", "source_seconds")}
        return {
            "model": self.model,
            "revision": self.revision,
            "score_kind": self.score_kind,
            "usage": usage | {"billed": dict(self.usage.billed)},
            "notes": list(self.notes),
            **({} if self.total is None else {"total": self.total}),
            "results": [result.to_dict() for result in self.results],
        }

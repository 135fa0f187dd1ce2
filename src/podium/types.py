"""The data types of the package: what scorers and sources take and return, and what a ranking contains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, overload, runtime_checkable

from podium.documents import as_json
from podium.errors import InvalidInput

__all__ = [
    "AsyncScorer",
    "AsyncSource",
    "Candidates",
    "Embed",
    "ManyScorer",
    "Passage",
    "Progress",
    "Ranking",
    "Result",
    "ScoreKind",
    "Scorer",
    "Scores",
    "Source",
    "Usage",
]

ScoreKind = Literal["logit", "sigmoid", "probability", "similarity", "similarity_sum", "fused"]
"""What a score means. Scores of different kinds, or of different models, cannot be compared.

- "logit": any real number.
- "sigmoid": between 0 and 1, higher for more relevant documents, but not calibrated: 0.9 does not mean that nine of ten
  such documents are relevant.
- "probability": calibrated, so 0.9 means that nine of ten such documents are relevant.
- "similarity": from -1 to 1.
- "similarity_sum": a sum of similarities, one for each token of the query, so it grows with the query's length.
- "fused": a combination of several scores.
"""

Progress = Callable[[int], None]
"""A function that is called with the number of texts scored since the last call."""

Embed = Callable[[list[str]], Any]
"""A function from texts to vectors: an array or lists of shape (texts, dimensions).

If it has an attribute `embed_query` (str → vector), that is used for queries.
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call cost. None means unknown.

    - `pairs`: number of (query, text) pairs that have a score, cached or computed.
    - `tokens`: number of tokens that were computed or billed.
    - `truncated`: number of documents that were longer than the model reads.
    - `billed`: what the provider says it charges, under the provider's own names.
    - `seconds`: wall-clock time of the call.
    - `source_seconds`: time that the source took to find the candidates; None if the call was not made by a `Search`.
    - `remembered`: number of pairs whose score came from a cache.
    - `encoded`: number of texts that a late-interaction model had to encode, because no store had their encodings. It is
      None for other models.
    - `estimated_cost`: about what the call cost in US dollars, by podium's list of prices or the price that the caller named.
      It is None unless the call had a maximum cost.
    """

    pairs: int = 0
    tokens: int | None = None
    truncated: int | None = None
    billed: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    source_seconds: float | None = None
    remembered: int = 0
    encoded: int | None = None
    estimated_cost: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the usage as `json.dumps` takes it."""
        return asdict(self) | {"billed": dict(self.billed)}


@dataclass(frozen=True, slots=True)
class Passage:
    """The part of a long text that decided its score: its characters from `start` to before `end`, and its own score.

    `text` has these characters. A scorer need not set it, because it is set in every Result. The repr leaves it out.
    """

    start: int
    end: int
    score: float
    text: str = field(default="", repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the passage as `json.dumps` takes it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Scores:
    """What a scorer returns for one query. Every list has one entry per text, in the order of the texts.

    - `values`: the scores that users see.
    - `raw`: the numbers that decide the order, if they differ from `values`: a sigmoid can make different logits equal.
    - `tokens`, `dropped_tokens`: how many tokens of each text were read, and how many were not; None if unknown.
    - `query_tokens`, `query_dropped_tokens`: the same for the query. They are lists, because a model that reads the query
      and the text together may read less of the query beside a long text.
    - `total_tokens`: number of tokens computed or billed for the whole call, None if unknown.
    - `billed`, `remembered`, `encoded`, `estimated_cost`: as in Usage. `notes`, `reasons`: as in Ranking.

    A scorer that is made of others may also return these:

    - `tiers`: the tier of each text. Texts in tier 0 are ranked above those in tier 1, and so on. Scores of different tiers
      cannot be compared.
    - `scored_by`: the name of the model that scored each text. It is None for a text that was not scored: its value is NaN,
      and it is ranked below all texts with a score, in input order.
    - `passages`: the part of each text that decided its score, None if that is the whole text.
    - `model`, `revision`, `score_kind`: those of the model that scored the texts, if it is not the scorer's own.
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
    remembered: int = 0
    encoded: int | None = None
    tiers: Sequence[int] | None = None
    scored_by: Sequence[str | None] | None = None
    passages: Sequence[Passage | None] | None = None
    model: str | None = None
    revision: str | None = None
    score_kind: ScoreKind | None = None
    reasons: tuple[str, ...] = ()
    estimated_cost: float | None = None


class Scorer(Protocol):
    """The central interface: anything that returns one number per text.

    `model`, `revision` and `score_kind` are copied to every Ranking.
    """

    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def score_kind(self) -> ScoreKind: ...

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Return one score per text, in the order of the texts. No text is blank. Must be safe to call from several threads.

        A Reranker passes `podium.texts.Texts`, a tuple of strings that also has the document of each text.
        """
        ...


@runtime_checkable
class AsyncScorer(Protocol):
    """A scorer that can wait without occupying a thread, or that stops when it is cancelled."""

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores: ...


@runtime_checkable
class ManyScorer(Protocol):
    """A scorer that is faster when it gets many queries at once, or that can report progress. A query may have no texts."""

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]: ...


class Candidates(list[Any]):
    """The documents that a source returns, best first: a list with a total count and notes.

    `notes` are warnings for the user, for example that the index is still being built. The argument `total` can be a function.
    It is called when the attribute `total` is first read.
    """

    def __init__(
        self, documents: Iterable[Any] = (), *, total: int | Callable[[], int] | None = None, notes: Iterable[str] = ()
    ) -> None:
        super().__init__(documents)
        self.notes = tuple(notes)
        self._total = total

    @property
    def total(self) -> int | None:
        """The number of documents that match, None if unknown. In a vector search every document matches."""
        if callable(self._total):
            self._total = self._total()
        return self._total

    def counted(self) -> Candidates:
        """Count the matching documents now, so that `total` does not do it later, and return this list.

        Counting may take as long as the search.
        """
        _ = self.total
        return self


class Source(Protocol):
    """A search system that returns candidate documents."""

    def search(self, query: str, limit: int) -> list[Any]:
        """Return at most `limit` documents, best first. A mapping may contain its `source_score` and `source_rank` (from 1).

        podium's own sources return Candidates and accept `offset`, the number of best documents to skip.
        """
        ...


@runtime_checkable
class AsyncSource(Protocol):
    """A source that can wait without occupying a thread."""

    async def asearch(self, query: str, limit: int) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Result:
    """One document with its score and position. The repr leaves out the document, because reprs end up in logs.

    - `document`: the caller's own object.
    - `score`: NaN if the document was not scored, for example because a budget was used up.
    - `rank`: position in the ranking, from 1. `index`: position in the input, from 0.
    - `tokens`, `dropped_tokens`: how many tokens of the text the model read and how many it did not; None if unknown.
    - `no_text`: whether the document was None or blank. Such a document is not scored, and is placed after all others.
    - `source_score`, `source_rank` (from 1): the document's score and position in the source's results, None if unknown.
    - `scored_by`: the name of the model that computed the score, None if the document was not scored. Scores of different
      models cannot be compared.
    - `passage`: the part of a long text that decided its score, None if that is the whole text.
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
    scored_by: str | None = None
    passage: Passage | None = None

    @property
    def has_score(self) -> bool:
        """Whether `score` is a number. A document without text has one, the lowest, although it was not scored."""
        return not math.isnan(self.score)

    @property
    def score_or_none(self) -> float | None:
        """The score, None if the document was not scored."""
        return self.score if self.has_score else None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as `json.dumps` takes it. The score of a document that was not scored is None."""
        return {
            "rank": self.rank,
            "index": self.index,
            "score": self.score_or_none,
            "tokens": self.tokens,
            "dropped_tokens": self.dropped_tokens,
            "no_text": self.no_text,
            "source_score": self.source_score,
            "source_rank": self.source_rank,
            "scored_by": self.scored_by,
            "passage": None if self.passage is None else self.passage.to_dict(),
            "document": self._document_as_json(),
        }

    def _document_as_json(self) -> Any:
        try:
            return as_json(self.document)
        except RecursionError as error:
            raise InvalidInput(f"document {self.index} contains itself, or is nested too deeply for JSON") from error


@dataclass(frozen=True, slots=True, repr=False)
class Ranking(Sequence[Result]):
    """Results in order of relevance, best first, with the model that scored them and what the call cost.

    `notes` are sentences that a user should read before relying on the order, for example that texts were truncated.
    `total` is the number of documents in the source that match the query. It is None if the source does not know it, and
    if the call was not made by a `Search`. `reasons` say why the order is not what the scorer usually returns, for example
    because another model had to replace it. They are also the first notes.
    """

    results: tuple[Result, ...]
    model: str
    revision: str | None
    score_kind: ScoreKind
    usage: Usage
    notes: tuple[str, ...] = ()
    total: int | None = None
    reasons: tuple[str, ...] = ()

    @property
    def degraded(self) -> bool:
        """Whether there are `reasons`: another model scored the documents, or some of them were not scored."""
        return bool(self.reasons)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | Sequence[Result]:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __repr__(self) -> str:
        best_model = self.results[0].scored_by if self.results else None  # scores of other models are not in the range
        scored = [result for result in self.results if result.scored_by == best_model and result.has_score]
        scores = [result.score for result in scored if not result.no_text]
        score_range = f", {self.score_kind} scores {scores[0]:.4g} to {scores[-1]:.4g}" if scores else ""
        results = f"{len(self)} result{'' if len(self) == 1 else 's'}"
        notes = f"{len(self.notes)} note{'' if len(self.notes) == 1 else 's'}"
        return f"<Ranking of {results} by {self.model}{score_range}, {notes}; iterate over it, or use to_dict()>"

    def _repr_html_(self) -> str:
        """Return a table for a notebook, documents included."""
        from podium.notebook import html_table

        return html_table(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole ranking as `json.dumps` takes it."""
        return {
            "model": self.model,
            "revision": self.revision,
            "score_kind": self.score_kind,
            "usage": self.usage.to_dict(),
            "degraded": self.degraded,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            **({} if self.total is None else {"total": self.total}),
            "results": [result.to_dict() for result in self.results],
        }

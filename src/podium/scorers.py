"""BaseScorer, the base class of podium's own scorers, and `as_scorer`, which gives a user's scorer the same methods.

The Protocol that users implement is `podium.types.Scorer`. podium itself calls only BaseScorers. They declare their
capabilities as properties, so that no caller has to look for a method with getattr.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, get_args, runtime_checkable

from podium.encodings import EncodingStore, TextEncoder
from podium.errors import Argument, InvalidInput, PodiumError
from podium.threads import to_thread
from podium.token_counts import TokenCounter
from podium.types import AsyncScorer, ManyScorer, Progress, Ranking, ScoreKind, Scorer, Scores

__all__ = ["BaseScorer", "HasScorer", "as_scorer", "score_queries"]


class BaseScorer(ABC):
    """A scorer with every method that podium calls. A subclass defines `model`, `score_kind` and `score`.

    `ascore` and `score_many` have defaults built on `score`; a subclass that can do better overrides them.
    """

    @property
    @abstractmethod
    def model(self) -> str:
        """The model's name, as it appears on every Ranking."""

    @property
    @abstractmethod
    def score_kind(self) -> ScoreKind: ...

    @property
    def revision(self) -> str | None:
        """The model's version, None if unknown."""
        return None

    @property
    def identity(self) -> str:
        """What the scores depend on besides `model` and `revision`, as one string. If identities differ, so may scores."""
        return ""

    @property
    def listwise(self) -> bool:
        """Whether a document's score depends on the documents that are scored with it. Such scores cannot be cached."""
        return False

    @property
    def reads_documents(self) -> bool:
        """Whether a score depends on the document of a text (see `podium.texts`), and not only on the text."""
        return False

    @property
    def reads_passages(self) -> bool:
        """Whether long texts are read in passages. Then a part stays unread only if the user set a limit."""
        return False

    @property
    def schedules_together(self) -> bool:
        """Whether `score_many` computes the texts of all queries together. If not, it scores one query after another."""
        return False

    @property
    def is_async(self) -> bool:
        """Whether `ascore` waits on the event loop, without occupying a thread."""
        return False

    @property
    def is_remote(self) -> bool:
        """Whether the scores are requested from a server, so that a call with few texts costs about as much as with many."""
        return False

    @property
    def precision(self) -> str | None:
        """The precision in which a model on this machine computes, None if it is hosted or unknown."""
        return None

    @property
    def threads(self) -> int | None:
        """The number of threads that a model on this machine uses, None if it is hosted or unknown."""
        return None

    @property
    def max_length(self) -> int | None:
        """The most tokens that the model reads of a query and a text together, None if unknown."""
        return None

    @property
    def has_budget(self) -> bool:
        """Whether each call has a budget of its own, so that a call must not be divided into several."""
        return False

    @property
    def counts_dropped_tokens(self) -> bool:
        """Whether `score` returns how many tokens of each text were not read."""
        return False

    @property
    def token_counter(self) -> TokenCounter | None:
        """What counts tokens as the model does, None if its tokenizer is not on this machine."""
        return None

    @property
    def reads_instructions(self) -> bool:
        """Whether `with_instruction` can be called."""
        return False

    def with_instruction(self, instruction: str) -> BaseScorer:
        """Return a scorer like this one that also reads an instruction, which describes relevant documents.

        Close only one of the two, because they share a model. Raises InvalidInput if the model does not read instructions.
        """
        raise InvalidInput(
            Argument("instruction"),
            f" is for models that read one, such as Qwen/Qwen3-Reranker-0.6B, and {self.model} does not; leave it out",
        )

    @property
    def encoder(self) -> TextEncoder | None:
        """What encodes texts for this scorer: itself, or the scorer that it wraps. None if encodings cannot be stored."""
        return None

    def with_store(self, store: EncodingStore) -> BaseScorer:
        """Return a scorer like this one that keeps its encodings in `store`. If it stores no encodings, return itself."""
        return self

    def limited(self, limit: Callable[[BaseScorer], BaseScorer]) -> BaseScorer:
        """Return a scorer like this one for a call with a budget: the result of `limit`, which may leave texts unscored.

        A composition that needs the scores of all texts applies `limit` to a scorer inside it.
        """
        return limit(self)

    @property
    def class_name(self) -> str:
        """The name of the scorer's class, for users."""
        return type(self).__name__

    def settings(self) -> dict[str, Any] | None:
        """Return the table that describes this scorer in a configuration file. Its values may be scorers and lists of them.

        It is None for a scorer that such a file cannot have.
        """
        return None

    @abstractmethod
    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Return one score per text, in the order of the texts. Safe to call from several threads."""

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Do what `score` does without blocking the event loop."""
        return await to_thread(self.score, query, texts)

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        """Return one Scores object per query, with the scores of its texts. It is empty for a query without texts.

        `progress` is called with the number of texts scored since its last call.
        """
        scores_per_query = []
        for query, texts in zip(queries, texts_per_query, strict=True):
            scores_per_query.append(self.score(query, texts) if texts else Scores(()))
            if progress:
                progress(len(texts))
        return scores_per_query

    def close(self) -> None:  # noqa: B027  most scorers have nothing to close
        """Release threads and connections. The scorer must not be used afterwards."""

    async def aclose(self) -> None:
        """Do what `close` does, and close connections that belong to the running event loop."""
        self.close()


@runtime_checkable
class HasScorer(Protocol):
    """A podium.ranking.Reranker, which this module cannot import."""

    scorer: Any

    def rerank(self, query: str, docs: Any) -> Ranking: ...


def score_queries(
    scorer: BaseScorer, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], progress: Progress | None = None
) -> list[Scores]:
    """Return the scores of each query. Only queries with texts are passed to `score_many`, and the others have no scores.

    Raises PodiumError if the scorer does not return scores for each of them.
    """
    with_texts = [index for index, texts in enumerate(texts_per_query) if texts]
    scored: Sequence[Scores] = ()
    if with_texts:
        scored = scorer.score_many(
            [queries[index] for index in with_texts], [texts_per_query[index] for index in with_texts], progress=progress
        )
    if len(scored) != len(with_texts):
        raise PodiumError(
            f"{scorer.model} returned scores for {len(scored)} of {len(with_texts)} queries, so they cannot be ranked"
        )
    scores_by_index = dict(zip(with_texts, scored, strict=True))
    return [scores_by_index.get(index, Scores(())) for index in range(len(texts_per_query))]


def as_scorer(scorer: Any) -> BaseScorer:
    """Return `scorer` itself if it is a BaseScorer, the scorer of a Reranker, or else a BaseScorer around a user's scorer.

    Raises InvalidInput if it cannot score.
    """
    if isinstance(scorer, BaseScorer):
        return scorer
    if isinstance(scorer, HasScorer):
        return as_scorer(scorer.scorer)
    if isinstance(scorer, str | os.PathLike):
        raise InvalidInput(f"a scorer is an object, not a name; use podium.load({os.fspath(scorer)!r})")
    if isinstance(scorer, list | tuple):
        raise InvalidInput("a list of scorers is not a scorer; combine them with podium.Fallback(a, b) or podium.Cascade(a, b)")
    if not callable(getattr(scorer, "score", None)) and not isinstance(scorer, AsyncScorer | ManyScorer):
        raise InvalidInput(
            f"a scorer has a score(query, texts) method; {type(scorer).__name__} has none; pass what podium.load returns, a "
            "composition, or an object with this method"
        )
    kind = getattr(scorer, "score_kind", None)
    if kind not in get_args(ScoreKind):
        kinds = ", ".join(get_args(ScoreKind))
        raise InvalidInput(f"the score_kind of {type(scorer).__name__} is {kind!r:.40}; it must be one of {kinds}")
    return _UserScorer(scorer)


class _UserScorer(BaseScorer):
    """An adapter for a user's `podium.types.Scorer`.

    It also uses these members of BaseScorer if the user's scorer has them: identity, listwise, is_remote, ascore, score_many,
    close and aclose.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    @property
    def model(self) -> str:
        return self._scorer.model

    @property
    def revision(self) -> str | None:
        return self._scorer.revision

    @property
    def score_kind(self) -> ScoreKind:
        return self._scorer.score_kind

    @property
    def class_name(self) -> str:
        return type(self._scorer).__name__

    @property
    def identity(self) -> str:
        return str(getattr(self._scorer, "identity", ""))

    @property
    def listwise(self) -> bool:
        return bool(getattr(self._scorer, "listwise", False))

    @property
    def reads_passages(self) -> bool:
        """Whether long texts are read in passages. Then a part stays unread only if the user set a limit."""
        return False

    @property
    def schedules_together(self) -> bool:
        return isinstance(self._scorer, ManyScorer)

    @property
    def is_async(self) -> bool:
        return isinstance(self._scorer, AsyncScorer)

    @property
    def is_remote(self) -> bool:
        return bool(getattr(self._scorer, "is_remote", False))

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return self._scorer.score(query, texts)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        if isinstance(self._scorer, AsyncScorer):
            return await self._scorer.ascore(query, texts)
        return await super().ascore(query, texts)

    def score_many(
        self, queries: Sequence[str], texts_per_query: Sequence[Sequence[str]], *, progress: Progress | None = None
    ) -> list[Scores]:
        if isinstance(self._scorer, ManyScorer):
            return self._scorer.score_many(queries, texts_per_query, progress=progress)
        return super().score_many(queries, texts_per_query, progress=progress)

    def close(self) -> None:
        if callable(close := getattr(self._scorer, "close", None)):
            close()

    async def aclose(self) -> None:
        if callable(aclose := getattr(self._scorer, "aclose", None)):
            await aclose()
        else:
            self.close()

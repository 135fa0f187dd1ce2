"""Workbench: runs settings on a collection.

Scores and vectors stay in memory. So a model scores a text of a query once, unless its scores depend on other texts or on the
documents, and an embedder embeds a text once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from podium.compose.cached import CachedScorer
from podium.compose.stores import Store
from podium.compose.stores.memory import MemoryScores
from podium.embedding import document_vectors, query_vector
from podium.encodings.memory import MemoryEncodings
from podium.errors import Argument, PodiumError
from podium.evaluation.collections import Collection
from podium.evaluation.metrics import metric_values
from podium.evaluation.runs import Run
from podium.local.embedder import Embedder
from podium.ordering import order_of
from podium.scorers import BaseScorer, score_queries
from podium.stacks import Stack, model_scorer, stack_of
from podium.texts import Texts
from podium.toml_files import TomlFile
from podium.tuning.grid import Setting
from podium.types import Embed, Progress, Scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]  # of shape (dimensions,)
    Vectors = NDArray[np.float32]  # of shape (texts, dimensions)

__all__ = ["Workbench", "setting_stack"]

MAX_ENCODING_BYTES = 2_000_000_000
MAX_SCORES = 100_000_000  # more than a tuning computes, so that none is dropped


class Workbench(contextlib.AbstractContextManager["Workbench"]):
    """The candidates of a collection's queries, and the scores that were computed for them.

    `store` also keeps the scores of models, for example in a file. Closing the workbench closes the models and the embedders,
    but not the store.
    """

    def __init__(self, collection: Collection, baseline: Run, store: Store | None = None) -> None:
        self.collection = collection
        self.query_ids = list(collection.queries)
        self._document_ids = {query_id: list(baseline.get(query_id, {})) for query_id in self.query_ids}
        self._texts = {query_id: self._query_texts(baseline.get(query_id, {})) for query_id in self.query_ids}
        self._store = store
        self._memory = MemoryScores(MAX_SCORES)
        self._scorers: dict[str, BaseScorer] = {}
        self._embedders: dict[str, _MemoryEmbedder] = {}

    def __exit__(self, *_: object) -> None:
        for scorer in self._scorers.values():
            scorer.close()
        for embedder in self._embedders.values():
            embedder.close()

    @property
    def pair_count(self) -> int:
        """The number of candidates of all queries together."""
        return sum(map(len, self._document_ids.values()))

    def scores(self, setting: Setting, progress: Progress | None = None) -> list[Scores]:
        """Return the scores of each query's candidates. `progress` is called with numbers of candidates."""
        scorer = setting_stack(setting).scorer(
            load_model=self._loaded_scorer, load_embedder=self.embedder, wrap=self._with_memory
        )
        texts = [self._candidate_texts(query_id, setting) for query_id in self.query_ids]
        queries = [self.collection.queries[query_id] for query_id in self.query_ids]
        return score_queries(scorer, queries, texts, progress)

    def ranked_run(self, scores: Sequence[Scores], cutoff: int | None) -> Run:
        """Return the best documents of each query, at most `cutoff`. Their scores are their negated ranks."""
        run = {}
        for query_id, query_scores in zip(self.query_ids, scores, strict=True):
            best_ids = [self._document_ids[query_id][position] for position in order_of(query_scores)[:cutoff]]
            run[query_id] = {document_id: float(-rank) for rank, document_id in enumerate(best_ids)}
        return run

    def values(self, setting: Setting, metric: str, cutoff: int | None) -> list[float]:
        """Return the value of a metric for each query. `cutoff` is how many documents the metric reads, None for all."""
        run = self.ranked_run(self.scores(setting), cutoff)
        values_by_query = metric_values([metric], self.collection.qrels, run)[metric]
        return [values_by_query[query_id] for query_id in self.query_ids]

    def queries_with_texts(self, setting: Setting) -> Iterator[tuple[str, Texts]]:
        """Yield each query that has candidates, with the texts of the candidates of a setting."""
        for query_id in self.query_ids:
            if texts := self._candidate_texts(query_id, setting):
                yield self.collection.queries[query_id], texts

    def scorer_of(self, model: str) -> BaseScorer:
        """Return the scorer of a model with its default options."""
        return self._loaded_scorer(model, {})

    def embedder(self, name: str) -> Embed:
        """Return the embedder of this name. It keeps its vectors in memory.

        Raises the errors of podium.Embedder. Their messages then begin with the name of the option `embed`.
        """
        if name not in self._embedders:
            try:
                self._embedders[name] = _MemoryEmbedder(Embedder(name), name)
            except PodiumError as error:
                error.args = (Argument("embed"), ": ", *error.args)
                raise
        return self._embedders[name]

    def _candidate_texts(self, query_id: str, setting: Setting) -> Texts:
        """Return the texts of a query's first candidates, as many as a setting has."""
        return self._texts[query_id].selected(range(min(setting.candidates, len(self._texts[query_id]))))

    def _query_texts(self, scores: Mapping[str, float]) -> Texts:
        """Return the texts of a query's candidates, with documents that have the scores and ranks of the first stage."""
        documents = self.collection.ranked_documents(scores)
        return Texts([document["text"] for document in documents], documents)

    def _loaded_scorer(self, name: str, options: Mapping[str, Any]) -> BaseScorer:
        """Return the scorer of a model with these options, which is loaded in the first call."""
        key = f"{name} {sorted(options.items())}"
        if key not in self._scorers:
            scorer = model_scorer(name, options)
            if scorer.encoder is not None:  # queries share documents, so their encodings are reused
                scorer = scorer.with_store(MemoryEncodings(MAX_ENCODING_BYTES))
            if self._store is not None and _is_cacheable(scorer):
                scorer = CachedScorer(scorer, self._store)
            self._scorers[key] = self._with_memory(scorer)
        return self._scorers[key]

    def _with_memory(self, scorer: BaseScorer) -> BaseScorer:
        """Return a scorer that keeps its scores in memory, if they can be kept."""
        return CachedScorer(scorer, self._memory) if _is_cacheable(scorer) else scorer


class _MemoryEmbedder:
    """An embedder that keeps the vectors of texts and queries in memory."""

    def __init__(self, embed: Embedder, model: str) -> None:
        self.model = model
        self._embed = embed
        self._text_vectors: dict[str, Vector] = {}
        self._query_vectors: dict[str, Vector] = {}

    def __call__(self, texts: list[str]) -> Vectors:
        if missing := [text for text in dict.fromkeys(texts) if text not in self._text_vectors]:
            self._text_vectors.update(zip(missing, document_vectors(self._embed, missing), strict=True))
        return np.stack([self._text_vectors[text] for text in texts])

    def embed_query(self, query: str) -> Vector:
        if query not in self._query_vectors:
            self._query_vectors[query] = query_vector(self._embed, query)
        return self._query_vectors[query]

    def close(self) -> None:
        self._embed.close()


def _is_cacheable(scorer: BaseScorer) -> bool:
    """Whether a score depends only on the query and the text, and not on other texts or on the document's other fields."""
    return not (scorer.listwise or scorer.reads_documents)


def setting_stack(setting: Setting) -> Stack:
    """Return the configuration of a setting, checked as if it were read from a file."""
    return stack_of(TomlFile(Path(), setting.table(), {}))

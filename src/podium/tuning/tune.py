"""tune: compare all settings of a grid on a collection, and select one."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from podium.atomic import atomic_write
from podium.compose.stores import Store
from podium.errors import Argument, InvalidInput
from podium.evaluation.collections import Collection
from podium.evaluation.metrics import checked_metrics, cutoff_of
from podium.evaluation.runs import Run
from podium.load import provider_of
from podium.scorers import BaseScorer
from podium.toml_files import toml_text
from podium.tuning.grid import Setting, Space, grid
from podium.tuning.scoring import Workbench, setting_stack
from podium.tuning.selection import Selection, folds_of, selection
from podium.types import Progress

__all__ = ["MIN_QUERIES", "Tuned", "tune", "write_stack"]

MIN_QUERIES = 5
TIMED_QUERIES = 20
WARM_UP_QUERIES = 2

Bar = Callable[[int, str], AbstractContextManager[Progress]]
"""Opens a progress bar for a number of items with a label."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result of tuning. `settings[0]` is the plain reranker; `means` are the metric's means over all queries.

    `plain_seconds` and `candidate_seconds` are the medians of the time to rerank a query, without stored scores.
    """

    metric: str
    query_count: int
    settings: Sequence[Setting]
    means: Sequence[float]
    selection: Selection
    plain_seconds: float
    candidate_seconds: float

    @property
    def plain(self) -> Setting:
        return self.settings[0]

    @property
    def candidate(self) -> Setting:
        return self.settings[self.selection.candidate]

    @property
    def selected(self) -> Setting:
        return self.settings[self.selection.index]


def tune(
    collection: Collection,
    baseline: Run,
    models: Sequence[str],
    *,
    metric: str = "nDCG@10",
    candidates: int = 100,
    folds: int = 5,
    embed: str | None = None,
    store: Store | None = None,
    open_bar: Bar,
) -> Tuned:
    """Return the setting that is selected for a collection, whose candidates are in `baseline`, and the estimate of its gain.

    `models[0]` is the plain reranker. Each model scores each text of a query once; `store` may have scores of earlier runs. The
    number of comparisons is that of `grid`. Raises InvalidInput if there are too few queries, and the errors of the models.
    """
    query_count = len(collection.queries)
    if query_count < MIN_QUERIES:
        raise InvalidInput(f"{query_count} judged queries are too few to tune on; use at least {MIN_QUERIES}, better 100")
    if not 2 <= folds <= query_count:
        raise InvalidInput(Argument("folds"), f" must be from 2 to the number of queries, {query_count}, not {folds}")
    (metric,) = checked_metrics([metric])
    with Workbench(collection, baseline, store) as workbench:
        if embed is not None:
            workbench.embedder(embed)  # an embedder that cannot be loaded is an error before texts are scored
        space = _space(workbench, models, candidates, embed, open_bar)
        settings = grid(space)
        _score_bases(workbench, settings, open_bar)
        rows = []
        with open_bar(len(settings), "comparing settings") as advance:
            for setting in settings:
                rows.append(workbench.values(setting, metric, cutoff_of(metric)))
                advance(1)
    values = np.array(rows, np.float64)
    choice = selection(values, lambda index: settings[index].simplicity, folds_of(query_count, folds))
    timed = [settings[0], *([settings[choice.candidate]] if choice.candidate else [])]
    seconds = _seconds_per_query(timed, workbench)
    return Tuned(metric, query_count, settings, values.mean(axis=1).tolist(), choice, seconds[0], seconds[-1])


def write_stack(path: str | os.PathLike[str], setting: Setting, comments: Sequence[str]) -> None:
    """Write a setting as a configuration file that begins with comments. Raises OSError."""
    lines = "".join(f"# {' '.join(comment.split())}\n" for comment in comments)
    table = _relative_to(Path(path).parent, setting.table())
    with atomic_write(Path(path)) as file:
        file.write(f"{lines}\n{toml_text(table)}".encode())


def _space(workbench: Workbench, models: Sequence[str], candidates: int, embed: str | None, open_bar: Bar) -> Space:
    """Return the space of settings. The models are loaded, and score all candidates, which shows if texts are too long."""
    precisions: dict[str, tuple[str, ...]] = {}
    long_models = []
    for model in models:
        plain = Setting(model=model, candidates=candidates)
        with open_bar(workbench.pair_count, f"scoring with {model}") as advance:
            scores = workbench.scores(plain, advance)
        if any(count for query_scores in scores for count in query_scores.dropped_tokens or ()):
            long_models.append(model)
        precisions[model] = _other_precisions(model, workbench.scorer_of(model))
    return Space(models=models, candidates=candidates, precisions=precisions, has_passages=long_models, embed=embed)


def _other_precisions(model: str, scorer: BaseScorer) -> tuple[str, ...]:
    """Return the precision that is not the model's default. A hosted model has none."""
    if provider_of(model) is not None or scorer.precision is None:
        return ()
    return tuple(precision for precision in ("int8", "float32") if precision != scorer.precision)


def _score_bases(workbench: Workbench, settings: Sequence[Setting], open_bar: Bar) -> None:
    """Score all candidates with every model, in each precision and with passages, as far as settings need it."""
    bases = dict.fromkeys(
        Setting(model=setting.model, precision=setting.precision, passages=setting.passages, candidates=settings[0].candidates)
        for setting in settings
        if setting.cheap is None
    )
    for base in bases:
        with open_bar(workbench.pair_count, f"scoring with {base}") as advance:
            workbench.scores(base, advance)


def _seconds_per_query(settings: Sequence[Setting], workbench: Workbench) -> list[float]:
    """Return the median time of each setting to rerank a query's candidates, with newly loaded models.

    The settings take turns, so that other programs on this machine slow down all of them alike.
    """
    scorers = [setting_stack(setting).scorer() for setting in settings]
    seconds: list[list[float]] = [[] for _ in settings]
    rounds = zip(*(workbench.queries_with_texts(setting) for setting in settings), strict=True)
    for queries_with_texts in itertools.islice(rounds, TIMED_QUERIES + WARM_UP_QUERIES):
        for scorer, (query, texts), times in zip(scorers, queries_with_texts, seconds, strict=True):
            began = time.perf_counter()
            scorer.score(query, texts)
            times.append(time.perf_counter() - began)
    for scorer in scorers:
        scorer.close()
    return [statistics.median(times[WARM_UP_QUERIES:] or times or [0.0]) for times in seconds]


def _relative_to(folder: Path, table: dict[str, Any]) -> dict[str, Any]:
    """Return a table in which the paths of models, which begin with a dot, start at a folder."""
    moved: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            moved[name] = _relative_to(folder, value)
        elif name == "model" and value.startswith(("./", "../")):
            path = os.path.relpath(value, folder)
            moved[name] = path if path.startswith("../") else f"./{path}"
        else:
            moved[name] = value
    return moved

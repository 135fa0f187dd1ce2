"""tune: compare all settings of a grid on a collection, and select one."""

from __future__ import annotations

import contextlib
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
    """The result of tuning.

    - `settings`, `means`: the compared settings, first the plain reranker, and the mean metric of each over all queries.
    - `selection`: which setting is preferred, because its mean is the highest or nearly so, and which one is selected: the
      preferred one if its gain is significant, otherwise the plain reranker.
    - `plain_seconds`, `preferred_seconds`: the median times in which the plain and the preferred setting rerank a query.
    """

    metric: str
    query_count: int
    settings: Sequence[Setting]
    means: Sequence[float]
    selection: Selection
    plain_seconds: float
    preferred_seconds: float

    @property
    def plain(self) -> Setting:
        return self.settings[0]

    @property
    def preferred(self) -> Setting:
        return self.settings[self.selection.preferred_index]

    @property
    def selected(self) -> Setting:
        return self.settings[self.selection.selected_index]


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
    """Compare all settings of `grid` on a collection, and return which one is selected, with the estimate of its gain.

    - `baseline`: the candidates of each query, with the scores of the first stage.
    - `models`: the names of the models to use and combine. The first one is the plain reranker.
    - `candidates`: the maximum number of candidates that are reranked.
    - `folds`: the number of folds of the queries for the estimate.
    - `embed`: the embedder for Neighbours. If None, Neighbours is not tried.
    - `store`: scores of earlier calls. New scores are added.

    A model scores a text of a query once in each precision, with and without passages, if a setting needs the scores. For the
    time, the plain and the preferred setting score up to 22 queries again. Raises InvalidInput if there are too few queries,
    and the errors of the models.
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
        _score_models(workbench, settings, open_bar)
        rows = []
        with open_bar(len(settings), "comparing settings") as advance:
            for setting in settings:
                rows.append(workbench.values(setting, metric, cutoff_of(metric)))
                advance(1)
    values = np.array(rows, np.float64)
    result = selection(values, lambda index: settings[index].complexity, folds_of(query_count, folds))
    timed_settings = [settings[index] for index in sorted({0, result.preferred_index})]  # one setting if the plain is preferred
    seconds = _seconds_per_query(timed_settings, workbench)  # it only reads texts of the workbench, and loads other models
    return Tuned(
        metric=metric,
        query_count=query_count,
        settings=settings,
        means=values.mean(axis=1).tolist(),
        selection=result,
        plain_seconds=seconds[0],
        preferred_seconds=seconds[-1],
    )


def write_stack(path: str | os.PathLike[str], setting: Setting, comments: Sequence[str]) -> None:
    """Write a setting as a configuration file that begins with comments. Raises OSError."""
    lines = "".join(f"# {' '.join(comment.split())}\n" for comment in comments)
    table = _relative_to(Path(path).parent, setting.table())
    with atomic_write(Path(path)) as file:
        file.write(f"{lines}\n{toml_text(table)}".encode())


def _space(workbench: Workbench, models: Sequence[str], candidates: int, embed: str | None, open_bar: Bar) -> Space:
    """Score all candidates with each model, which shows if texts are too long for it, and return the space of settings."""
    precisions: dict[str, tuple[str, ...]] = {}
    truncating_models = []
    for model in models:
        alone = Setting(model=model, candidates=candidates)
        with open_bar(workbench.pair_count, f"scoring with {model}") as advance:
            scores = workbench.scores(alone, advance)
        if any(count for query_scores in scores for count in query_scores.dropped_tokens or ()):
            truncating_models.append(model)
        precisions[model] = _other_precisions(model, workbench.scorer_of(model))
    return Space(models=models, candidates=candidates, precisions=precisions, truncating_models=truncating_models, embed=embed)


def _other_precisions(model: str, scorer: BaseScorer) -> tuple[str, ...]:
    """Return the precisions besides the model's default. The precision of a hosted model cannot be selected."""
    if provider_of(model) is not None or scorer.precision is None:
        return ()
    return tuple(precision for precision in ("int8", "float32") if precision != scorer.precision)


def _score_models(workbench: Workbench, settings: Sequence[Setting], open_bar: Bar) -> None:
    """Score all candidates with each model, in each precision, with and without passages, if a setting needs the scores.

    Then the settings are compared without computing scores again. Those that use fewer candidates, fuse scores or use
    Neighbours need the same scores. So do cascades, whose two models also occur alone.
    """
    alone = dict.fromkeys(
        Setting(model=setting.model, precision=setting.precision, passages=setting.passages, candidates=settings[0].candidates)
        for setting in settings
        if setting.cheap is None
    )
    for setting in alone:
        with open_bar(workbench.pair_count, f"scoring with {setting}") as advance:
            workbench.scores(setting, advance)


def _seconds_per_query(settings: Sequence[Setting], workbench: Workbench) -> list[float]:
    """Return the median time in which each setting reranks a query's candidates, with newly loaded models and no stored scores.

    The settings take turns, so that other programs on this machine slow down all of them alike.
    """
    seconds: list[list[float]] = [[] for _ in settings]
    rounds = zip(*(workbench.queries_with_texts(setting) for setting in settings), strict=True)
    with contextlib.ExitStack() as open_scorers:
        scorers = []
        for setting in settings:
            scorers.append(setting_stack(setting).scorer())
            open_scorers.callback(scorers[-1].close)
        for queries_with_texts in itertools.islice(rounds, TIMED_QUERIES + WARM_UP_QUERIES):
            for scorer, (query, texts), times in zip(scorers, queries_with_texts, seconds, strict=True):
                began = time.perf_counter()
                scorer.score(query, texts)
                times.append(time.perf_counter() - began)
    return [statistics.median(times[WARM_UP_QUERIES:] or times or [0.0]) for times in seconds]


def _relative_to(folder: Path, table: dict[str, Any]) -> dict[str, Any]:
    """Return a table whose relative paths of models and embedders, such as ./model, are relative to `folder`."""
    moved: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            moved[name] = _relative_to(folder, value)
        elif name in ("model", "embed") and value.startswith(("./", "../")):
            path = Path(os.path.relpath(value, folder)).as_posix()
            moved[name] = path if path.startswith("../") else f"./{path}"
        else:
            moved[name] = value
    return moved

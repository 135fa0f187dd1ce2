"""Options of a batch job that decide what its output contains, and the facts about the model on which the scores depend."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from podium.batch.files import InputFile
from podium.errors import InvalidInput
from podium.inputs import without_none
from podium.load import load
from podium.ranking import Reranker
from podium.scorers import as_scorer

__all__ = ["Options", "load_options", "scorer_facts"]

SCORE_VERSION = 1  # is increased if a new version of podium computes other scores with the same model
LOAD_OPTIONS = (
    "precision", "runtime", "max_length", "encoding", "pooling", "score", "instruction", "calibration", "revision", "base_url",
)  # fmt: skip
"""The options of podium.load on which scores depend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a job reads and writes.

    `columns` maps the values of the layout to columns. `collection` has the files of queries and of documents of a collection.
    The other fields are the arguments of `podium.batch`.
    """

    layout: str
    output: str
    columns: Mapping[str, str] = field(default_factory=dict)
    rank_by: tuple[str, ...] | None = None
    copy: tuple[str, ...] = ()
    limit: int | None = None
    part_size: int
    format_name: str | None = None
    collection: tuple[InputFile, InputFile] | None = None

    def to_json(self) -> dict[str, Any]:
        values = asdict(self) | {"rank_by": self.rank_by and list(self.rank_by), "copy": list(self.copy)}
        return values | {"collection": self.collection and [asdict(file) for file in self.collection]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Options:
        """Return the options that `to_json` described. Raises TypeError and KeyError if the description is damaged."""
        rank_by = values["rank_by"]
        options = {option.name: values[option.name] for option in fields(cls)}
        options |= {"rank_by": rank_by and tuple(rank_by), "copy": tuple(values["copy"])}
        if values["collection"] is not None:
            options["collection"] = tuple(InputFile(**file) for file in values["collection"])
        return cls(**options)


def scorer_facts(reranker: Reranker) -> dict[str, Any]:
    """Return everything that the scores depend on besides the input, by name, as values for JSON."""
    scorer = as_scorer(reranker.scorer)
    return {
        "model": scorer.model,
        "revision": scorer.revision,
        "score_kind": scorer.score_kind,
        "precision": scorer.precision,
        "max_length": scorer.max_length,
        "identity": scorer.identity,
        "instruction_set": None if scorer.precision is None else _instruction_set(),
        "score_version": SCORE_VERSION,
    }


def load_options(reranker: Reranker) -> dict[str, Any]:
    """Return the options of podium.load that decide the scores of a reranker, as values for JSON. Secrets are left out.

    `name` is among them if the reranker was loaded from a configuration file. It is empty if the reranker was not
    loaded by podium.load, or with a secret.
    """
    try:
        call = reranker.load_call()
    except InvalidInput:
        return {}
    options = without_none(call.keywords) if isinstance(call, functools.partial) else {}
    values = {name: options[name] for name in LOAD_OPTIONS if name in options}
    if isinstance(call, functools.partial) and call.func is load and os.path.isfile(call.args[0]):
        values["name"] = call.args[0]
    return values | {name: os.path.abspath(values[name]) for name in ("name", "calibration") if name in values}


def _instruction_set() -> str:
    """Return the processor's best instruction set. Another one may change the last bits of a score."""
    from podium.local.runtimes import native_core

    core = native_core()
    return str(core.instruction_sets()[0]) if core else "unknown"

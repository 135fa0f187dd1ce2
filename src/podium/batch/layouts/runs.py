"""The layout of TREC runs: ids of queries and documents, whose texts are in a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.batch.layouts.layout import PartInput, checked_text
from podium.batch.layouts.pairs import Pairs
from podium.errors import Argument, InvalidInput

__all__ = ["Runs"]


class Runs(Pairs):
    """Pairs of ids. A document is its title and its text, as usual in evaluations on BEIR."""

    name = "run"
    names = {"query_id": ("query_id",), "id": ("id",)}  # noqa: RUF012  not changed
    required = ("query_id", "id")
    needs_collection = True

    def columns_of(
        self, fields: Sequence[str], chosen_columns: Mapping[str, str], rank_by: Sequence[str] | None
    ) -> dict[str, str]:
        if rank_by is not None:
            raise InvalidInput(Argument("rank_by"), " is not for runs, whose documents are title and text; leave it out")
        return {"query_id": "query_id", "id": "id"}

    def query_text(self, values: Mapping[str, Any], source: PartInput) -> str:
        return checked_text(source.collection.queries.get(values["query_id"]), "query in the collection")

    def document(self, values: Mapping[str, Any], source: PartInput) -> Any:
        if values["id"] not in source.collection.documents:
            raise ValueError("the document in the collection is missing")
        return source.collection.documents[values["id"]]

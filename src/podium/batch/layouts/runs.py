"""The layout of TREC runs: ids of queries and documents, whose texts are in a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from podium.batch.layouts.layout import Layout, PartInput, checked_text, listed, text_of_id
from podium.batch.layouts.pairs import Pairs
from podium.errors import Argument, InvalidInput

__all__ = ["Runs"]


class Runs(Pairs):
    """Pairs of ids. A document is its title and its text, as usual in evaluations on BEIR."""

    name = "run"
    column_names = {value: Pairs.column_names[value] for value in ("query_id", "id")}  # noqa: RUF012  never modified
    required = ("query_id", "id")
    needs_collection = True

    def columns_of(
        self, fields: Sequence[str], chosen_columns: Mapping[str, str], rank_by: Sequence[str] | None
    ) -> dict[str, str]:
        if rank_by is not None:
            raise InvalidInput(Argument("rank_by"), " is not for runs, whose documents are title and text; leave it out")
        # Not the method of Pairs, which requires a column of texts.
        return Layout.columns_of(self, fields, chosen_columns, rank_by)

    def refuse_missing(self, name: str, fields: Sequence[str]) -> NoReturn:
        raise InvalidInput(
            Argument("collection"),
            f" is for a run, whose rows have the ids of a query and of a document, but the input has no {name}, "
            f"only {listed(fields)}; leave it out, or if the column has another name, use ",
            Argument("columns", {name: "…"}),
        )

    def query_text(self, values: Mapping[str, Any], source: PartInput) -> str:
        query_id = text_of_id(values.get(source.selection.columns["query_id"]))
        return checked_text(source.collection.queries.get(query_id or ""), "query in the collection")

    def document(self, values: Mapping[str, Any], source: PartInput) -> Any:
        document_id = text_of_id(values.get(source.selection.columns["id"])) or ""
        if document_id not in source.collection.documents:
            raise ValueError("the document is not in the collection")
        return source.collection.documents[document_id]

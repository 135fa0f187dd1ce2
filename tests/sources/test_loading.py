"""Ids of documents that are loaded into an index."""

from __future__ import annotations

import pytest

from podium.errors import InvalidInput
from podium.sources.loading import with_ids


def test_ids_are_digests_of_documents_or_the_value_of_a_field():
    documents = [{"a": 1}, "x", {"a": 1}]
    with_digests = list(with_ids(documents, None))
    assert list(with_ids(documents, None)) == with_digests
    ids = [document_id for document_id, _ in with_digests]
    assert ids[2] == f"{ids[0]}-2", "the third document equals the first"
    assert list(with_ids([{"id": 7}, {"id": "b"}], "id")) == [("7", {"id": 7}), ("b", {"id": "b"})]


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param([{"id": 1}, {"id": "1"}], id="repeated"),
        pytest.param([{"id": None}], id="None"),
        pytest.param(["x"], id="string"),
        pytest.param([{}], id="missing"),
    ],
)
def test_documents_without_unique_ids_are_refused(documents):
    with pytest.raises(InvalidInput, match=r"document [01] has"):
        list(with_ids(documents, "id"))

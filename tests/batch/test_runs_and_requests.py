"""TREC runs with a collection, and batch requests with their replies."""

from __future__ import annotations

import json
import os

import pyarrow.parquet as pq
import pytest

import podium
from batches import expected_results, pairs, rejected_in, results_in, write_table
from commands import run_in_process
from podium.errors import InvalidInput
from podium.evaluation.runs import read_run

QUERIES = {"q1": "red fruit", "q2": "sea"}
DOCUMENTS = {"d1": ("", "the sea"), "d2": ("red apple", "a fruit"), "d3": ("", "")}
LINES = ("q1 Q0 d1 1 9.5 bm25", "q1 Q0 d2 2 9.0 bm25", "q1 Q0 d3 3 1 bm25", "q2 Q0 d2 1 4 bm25", "q2 Q0 d1 2 3 bm25")


@pytest.fixture
def collection(tmp_path):
    folder = tmp_path / "beir"
    folder.mkdir()
    queries = [{"_id": query_id, "text": text} for query_id, text in QUERIES.items()]
    documents = [{"_id": document_id, "title": title, "text": text} for document_id, (title, text) in DOCUMENTS.items()]
    write_table(folder / "queries.jsonl", queries)
    write_table(folder / "corpus.jsonl.gz", documents)
    return folder


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "bm25.run"
    path.write_text("\n".join(LINES) + "\n")
    return path


def test_run_is_reranked_with_the_texts_of_its_collection(run, collection, out, reranker):
    podium.batch(run, out, reranker=reranker, collection=collection)
    assert [row[:4] for row in results_in(out)] == [
        ("q1", "d2", 1, 1),
        ("q1", "d1", 0, 2),
        ("q1", "d3", 2, 3),  # it has no text
        ("q2", "d1", 1, 1),
        ("q2", "d2", 0, 2),
    ]


def test_output_is_a_run(run, collection, out, reranker):
    podium.batch(run, out, reranker=reranker, collection=collection, output="run", part_size=2)
    assert {query_id: list(scores) for query_id, scores in read_run(out).items()} == {
        "q1": ["d2", "d1", "d3"],
        "q2": ["d1", "d2"],
    }
    assert len(list((out / "parts").iterdir())) > 1
    assert podium.verify_batch(out, reranker=reranker).different == ()
    part = sorted((out / "parts").iterdir())[0]
    part.write_text(part.read_text().replace("Q0 d2 1", "Q0 d3 1"))
    assert podium.verify_batch(out, reranker=reranker).different == (part,)


def test_rows_whose_ids_are_not_in_the_collection_are_bad(run, collection, out, reranker):
    run.write_text("\n".join((*LINES, "q1 Q0 d1", "q2 Q0 d9 3 1 bm25", "q9 Q0 d1 1 1 bm25", "q9 Q0 d2 2 0 bm25")))
    assert podium.batch(run, out, reranker=reranker, collection=collection).rejected == 4
    assert [row["reason"] for row in rejected_in(out)] == [
        "a line of a run has query, Q0, document, rank, score and name",
        "the document is not in the collection",
        "the query in the collection is missing",
        "the query in the collection is missing",
    ]


def test_repeated_document_of_a_query_is_bad_if_the_output_is_a_run(run, collection, out, reranker):
    run.write_text("\n".join((*LINES[:2], LINES[0], *LINES[2:])))
    assert podium.batch(run, out, reranker=reranker, collection=collection, output="run").rejected == 1
    (part,) = (out / "parts").iterdir()
    assert list(read_run(part)["q1"]) == ["d2", "d1", "d3"]
    (rejected,) = rejected_in(out)
    assert (rejected["position"], rejected["document"]) == (len("\n".join(LINES[:2])) + 1, 2)
    assert rejected["reason"] == "the query has an earlier document with this id, and a run can have only one of them"


def test_changed_collection_is_refused(run, collection, out, reranker):
    podium.batch(run, out, reranker=reranker, collection=collection)
    assert podium.batch(run, out, reranker=reranker, collection=collection).computed_pairs == 0
    os.utime(collection / "corpus.jsonl.gz", ns=(1, 1))
    with pytest.raises(InvalidInput, match=r"collection is .*, and was "):
        podium.batch(run, out, reranker=reranker, collection=collection)


def test_pairs_with_ids_become_a_run_and_those_without_are_bad(tmp_path, out, reranker):
    rows = [*pairs([3]), {"query_id": "q0", "query": "apple pear 0", "id": None, "text": "x"}]
    rows.append({"query_id": "q 1", "query": "red", "id": "d", "text": "x"})
    result = podium.batch(write_table(tmp_path / "in.parquet", rows), out, reranker=reranker, output="run")
    assert (result.pairs, result.rejected) == (3, 2)
    (part,) = (out / "parts").iterdir()
    scores = {document_id: score for _, document_id, *_, score in expected_results(rows[:3], reranker)}
    assert list(read_run(part)["q0"]) == list(scores)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"layout": "run"}, "a run has no texts", id="no-collection"),
        pytest.param({"collection": "nope"}, "collection: there is no folder nope", id="no-folder"),
        pytest.param({"collection": "."}, "has no queries.jsonl", id="no-files"),
        pytest.param({"collection": ".", "layout": "pairs"}, "collection is for a run; leave it out", id="pairs"),
        pytest.param({"collection": ".", "rank_by": "text"}, "rank_by is not for runs", id="rank-by"),
        pytest.param({"output": "replies", "layout": "pairs"}, "output='replies' is for batch requests", id="replies"),
        pytest.param({"output": "run", "copy": ["query_id"]}, "copy is for the output parquet", id="copy"),
        pytest.param({"output": "xml"}, "there is no output 'xml'; known: parquet, run, replies", id="output"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(tmp_path, out, reranker, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    path = write_table(tmp_path / "in.run.jsonl", pairs([2]))
    with pytest.raises(InvalidInput, match=message):
        podium.batch(path, out, reranker=reranker, **options)


def test_run_without_a_collection_is_refused_with_the_option(run, out, reranker):
    with pytest.raises(InvalidInput, match=r"a run has no texts.*collection='scifact'"):
        podium.batch(run, out, reranker=reranker)
    code, _, stderr = run_in_process("batch", run, "--to", out)
    assert (code, "--collection scifact" in stderr) == (2, True)


@pytest.mark.parametrize("columns", [{}, {"query_id": "query"}], ids=["usual-names", "one-column-named"])
def test_collection_without_ids_in_the_input_is_refused(tmp_path, collection, out, reranker, columns):
    path = write_table(tmp_path / "in.jsonl", [{"query": "red fruit", "documents": ["sea"]}])
    message = (
        "collection is for a run, whose rows have the ids of a query and of a document, but "
        "the input has no (query_)?id, only 'query', 'documents'; leave it out"
    )
    with pytest.raises(InvalidInput, match=message):
        podium.batch(path, out, reranker=reranker, collection=collection, columns=columns)


def test_run_can_be_a_table_with_numbers_as_ids(tmp_path, collection, out, reranker):
    write_table(collection / "queries.jsonl", [{"_id": "1", "text": "sea"}])
    path = write_table(tmp_path / "in.parquet", [{"qid": 1, "doc": "d2"}, {"qid": 1, "doc": "d1"}])
    podium.batch(path, out, reranker=reranker, collection=collection, columns={"id": "doc"})
    assert [row[:3] for row in results_in(out)] == [("1", "d1", 1), ("1", "d2", 0)]


def request(custom_id="a", **body):
    body = {"model": "rerank", "query": "red fruit", "documents": ["sea", "red", "red fruit"], **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/rerank", "body": body}


def replies_in(folder):
    return [json.loads(line) for part in sorted((folder / "parts").iterdir()) for line in part.read_text().splitlines()]


def test_requests_have_replies_in_the_format_of_the_api(tmp_path, out, reranker):
    requests = [request(), request("b", top_n=1, return_documents=True), request("c", documents=[{"text": "red", "id": 1}])]
    podium.batch(write_table(tmp_path / "in.jsonl", requests), out, reranker=reranker, output="replies")
    first, second, third = replies_in(out)
    assert [reply["custom_id"] for reply in (first, second, third)] == ["a", "b", "c"]
    assert first["response"]["status_code"] == 200
    assert first["error"] is None
    body = first["response"]["body"]
    assert [(result["index"], result["relevance_score"]) for result in body["results"]] == [(2, 2.0), (1, 1.0), (0, 0.0)]
    assert body["model"] == "word-overlap"
    assert [result["document"] for result in second["response"]["body"]["results"]] == [{"text": "red fruit"}]
    assert len(third["response"]["body"]["results"]) == 1
    assert podium.verify_batch(out, reranker=reranker).different == ()


def test_requests_also_have_parquet_results(tmp_path, out, reranker):
    requests = [request("x", documents=[{"text": "red", "id": 1}], rank_fields=["text"])]
    podium.batch(write_table(tmp_path / "in.jsonl.zst", requests), out, reranker=reranker, copy=["url"])
    assert results_in(out) == [("x", "1", 0, 1, 1.0)]
    assert pq.read_table(out / "parts")["url"].to_pylist() == ["/v1/rerank"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param({**request(), "custom_id": None}, "the custom_id is missing", id="custom-id"),
        pytest.param({**request(), "url": "/v1/embeddings"}, "the url is none of", id="url"),
        pytest.param({**request(), "body": None}, "the body is not an object", id="body"),
        pytest.param(request(documents="red"), "documents must be a list with at least one document", id="documents"),
        pytest.param(request(top_n="many"), "top_n must be a whole number", id="top-n"),
        pytest.param(request(query=""), "the query is blank", id="query"),
        pytest.param(request(documents=["a", 7]), "document 1: the document is a number", id="document"),
    ],
)
def test_bad_request_is_a_bad_row(tmp_path, out, reranker, line, reason):
    path = write_table(tmp_path / "in.jsonl", [request("good"), line])
    assert podium.batch(path, out, reranker=reranker, output="replies").rejected == 1
    (rejected,) = rejected_in(out)
    assert reason in rejected["reason"]
    assert rejected["query_id"] == line["custom_id"]
    replies = {reply["custom_id"]: reply for reply in replies_in(out)}
    assert replies["good"]["error"] is None
    if line["custom_id"] is None:
        assert len(replies) == 1
    else:
        error = {"code": "invalid_request", "message": rejected["reason"]}
        assert (replies[line["custom_id"]]["response"], replies[line["custom_id"]]["error"]) == (None, error)
    assert podium.verify_batch(out, reranker=reranker).different == ()


@pytest.mark.parametrize(
    ("model", "notes"),
    [
        pytest.param("rerank", ("the request names another model than word-overlap, which scored it (in 2 of 3 queries)",)),
        pytest.param("word-overlap", ()),
        pytest.param(None, ()),
    ],
)
def test_request_that_names_another_model_is_a_note(tmp_path, out, reranker, model, notes):
    requests = [request("a", model=model), request("b", model=model), request("c", model="word-overlap")]
    path = write_table(tmp_path / "in.jsonl", requests)
    assert podium.batch(path, out, reranker=reranker).notes == notes


def test_repeated_custom_id_is_a_note(tmp_path, out, reranker):
    requests = [request(name, model=None) for name in ("a", "b", "a", "a")]
    result = podium.batch(write_table(tmp_path / "in.jsonl", requests), out, reranker=reranker)
    assert result.notes == ("the custom_id was used by an earlier request of the same part (in 2 of 4 queries)",)


def test_request_that_refuses_truncation_is_bad_if_a_document_is_too_long(tmp_path, out):
    requests = [request("long", documents=["red " * 200], truncation=False), request("short", truncation=False)]
    path = write_table(tmp_path / "in.jsonl", requests)
    code, _, stderr = run_in_process("batch", path, "--to", out, "--output", "replies", "--max-length", "64")
    assert code == 1
    assert "1 bad row" in stderr
    assert [(reply["custom_id"], reply["error"] is None) for reply in replies_in(out)] == [("long", False), ("short", True)]
    assert rejected_in(out)[0]["reason"] == "a document is longer than the model reads"

"""The search of the page."""

from __future__ import annotations

import podium
from serving import Process, Serving, rerankers


def test_the_index_is_searched():
    index = podium.EmbeddedIndex.create(None)
    index.add(["a green apple", "the red sea at night", "a ripe red apple"])
    with Serving(rerankers=rerankers(), source=index) as server:
        found = server.post("/search", {"query": "red apple", "candidates": 2}).json()["documents"]
        assert [(each["text"], each["source_rank"]) for each in found] == [("a ripe red apple", 1), ("a green apple", 2)]
        first, second = (server.post("/search", {"query": "red apple", "candidates": 1, "offset": at}).json() for at in (0, 1))
        assert [*first["documents"], *second["documents"]] == found
        assert first["total"] == second["total"] == 3
        assert server.post("/search", {"query": " "}).status_code == 400
        assert server.post("/search", {}).status_code == 400
        assert server.client.get("/v1/models").json()["search"] is True
        long = server.post("/search", {"query": "apple " * 2000})
        assert (long.status_code, "the query has 12,000 characters; /search takes 10,000" in long.text) == (400, True)
    with Serving(rerankers=rerankers()) as server:
        refused = server.post("/search", {"query": "a"})
        assert (refused.status_code, "--index" in refused.text) == (404, True)


def test_an_index_is_searched_by_the_fields_that_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"title": "sourdough", "content": "bread"}\n{"title": "sea", "content": "water"}\n')
    with Process("--index", str(tmp_path / "a.jsonl"), "--text", "title,content") as server:
        said = server.client.post("/search", json={"query": "sourdough"}).json()
        assert [each["content"] for each in said["documents"]] == ["bread"]
        assert said["fields"] == ["title", "content"]

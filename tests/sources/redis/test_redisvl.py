"""podium's Embedder as the vectorizer of a redisvl index."""

from __future__ import annotations

import contextlib
import copy

import redis
from redisvl.index import SearchIndex
from redisvl.query import VectorQuery

import podium
from environment import PARITY_MODELS
from podium.integrations.redisvl import Vectorizer
from redisearch import INFO, NAME, REDISVL_SCHEMA, answering
from resp import FakeRedis


def test_redisvl_stores_and_searches_vectors_of_the_embedder():
    text = "a red apple"
    row = [1, f"{NAME}:a", ["vector_distance", "0.25", "content", text]]
    replies = {"HSET": 2, "FT.SEARCH": row, "FT._LIST": [NAME], "FT.INFO": INFO}
    with (
        contextlib.closing(podium.Embedder(PARITY_MODELS / "embedders" / "bert-mean")) as embedder,
        FakeRedis(answering(replies, 2)) as fake,
        redis.Redis.from_url(fake.url, protocol=2) as client,
    ):
        vectorizer = Vectorizer(embedder)
        schema = copy.deepcopy(REDISVL_SCHEMA)
        schema["fields"][1]["attrs"]["dims"] = vectorizer.dims
        index = SearchIndex.from_dict(schema, redis_client=client)
        index.load([{"content": text, "embedding": vectorizer.embed(text, as_buffer=True)}])
        query = VectorQuery(vectorizer.embed(text), "embedding", return_fields=["content"], num_results=1)
        assert index.query(query)[0]["content"] == text
        vector = embedder.embed([text])[0].tobytes().decode("latin-1")
        commands = {words[0]: words for words in fake.commands}
        assert vector in commands["HSET"]
        assert vector in commands["FT.SEARCH"]

"""Failures of servers and connections: the errors name the server's address and a remedy."""

from __future__ import annotations

import asyncio

import pytest
from redisvl.index import AsyncSearchIndex

import podium
from podium.errors import InvalidInput, SourceError
from redisearch import INFO, NAME, REDISVL_SCHEMA, answering, source_at
from resp import FakeRedis


def on_info(reply):
    """Return the replies of a server that fails at FT.INFO."""
    return {"FT.INFO": reply}


def on_search(reply):
    """Return the replies of a server that fails at FT.SEARCH."""
    return {"FT.INFO": INFO, "FT.SEARCH": reply}


# The name of a case → the replies of the server, and a regular expression for the error's message.
FAILURES = {
    "no module": (
        on_info(Exception("ERR unknown command 'FT.INFO', with args beginning with: 'x'")),
        "has no search module; use Redis 8",
    ),
    "no JSON module": (on_info(Exception("Invalid rule type: JSON")), "has no JSON module, .* use storage hash"),
    "no password": (on_info(Exception("NOAUTH Authentication required.")), "does not let this user connect"),
    "ACL": (
        on_info(Exception("NOPERM User x has no permissions to run the 'FT.INFO' command")),
        "check user name, .*ACL allows .*FT.CREATE",
    ),
    "loading": (on_info(Exception("LOADING Redis is loading the dataset in memory")), "is still loading its data"),
    "database": (on_info(Exception("Cannot create index on db != 0")), "has indexes in database 0 only"),
    "no scorer": (on_search(Exception("No such scorer BM25STD")), "does not have the scorer BM25STD"),
    "timeout": (on_search(Exception("Timeout limit was reached")), "did not answer in time"),
    "no index": (on_search(Exception("podium-test: no such index")), "there is no index"),
    "too many": (
        on_search(Exception("LIMIT exceeds maximum of 50")),
        r"request fewer \(candidates=, --candidates\), or raise",
    ),
    "closed at FT.INFO": (on_info(None), r"cannot reach Redis at 127.0.0.1:\d+"),
    "closed at FT.SEARCH": (on_search(None), r"cannot reach Redis at 127.0.0.1:\d+"),
    "not RESP": (on_info(b"?what\r\n"), "cannot reach|refused a command"),
    "unreadable documents": (on_search([1, "k:1", "2.5", None]), "found 1 documents, but returned the fields of none"),
    "FT.INFO is empty": (on_info([]), "reply to FT.INFO cannot be read"),
    "FT.INFO is a number": (on_info(7), "reply to FT.INFO cannot be read"),
    "FT.SEARCH is a number": (on_search(7), "reply to FT.SEARCH cannot be read"),
    "FT.SEARCH is too short": (on_search([1, "k"]), "reply to FT.SEARCH cannot be read"),
    "score is a word": (on_search([1, "k", "high", []]), "reply to FT.SEARCH cannot be read"),
    "FT.SEARCH is nested too deeply": (on_search(b"*1\r\n" * 100_000), "sent a reply that is nested too deeply"),
    "score is NaN": (on_search([1, "k", "nan", []]), "reply to FT.SEARCH cannot be read"),
}


@pytest.mark.parametrize(("replies", "message"), FAILURES.values(), ids=FAILURES)
def test_failure_has_a_remedy_and_no_password(replies, message):
    with FakeRedis(answering(replies)) as fake, source_at(fake.url.replace("//", "//user:s3cret@")) as source:
        with pytest.raises(SourceError, match=message) as caught:
            source.search("red", 5)
        assert "s3cret" not in f"{caught.value!r} {source!r} {source.explain()}"
        with pytest.raises(SourceError, match=message):
            asyncio.run(source.asearch("red", 5))


def test_unreachable_server_is_an_error():
    with (
        source_at("redis://127.0.0.1:9") as source,
        pytest.raises(SourceError, match=r"cannot reach Redis at 127.0.0.1:9: .*check that it runs"),
    ):
        source.search("x", 1)


def test_unreachable_server_of_an_asynchronous_index_is_an_error():
    index = AsyncSearchIndex.from_dict(REDISVL_SCHEMA, redis_url="redis://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9"):
        asyncio.run(podium.RedisSource(index).asearch("red", 5))


def test_url_of_another_scheme_is_refused_without_its_password():
    with pytest.raises(InvalidInput, match="begins with redis://, rediss://") as caught:
        podium.RedisSource.from_url("http://u:s3cret@localhost", index=NAME)
    assert "s3cret" not in str(caught.value)


def test_object_that_is_not_an_index_is_refused():
    with pytest.raises(InvalidInput, match="SearchIndex"):
        podium.RedisSource(object())


def test_unknown_connection_option_is_an_error():
    with (
        source_at("redis://127.0.0.1:9?nonsense=1") as source,
        pytest.raises(SourceError, match=r"^redis-py does not accept this URL or these connection options"),
    ):
        source.search("red", 5)

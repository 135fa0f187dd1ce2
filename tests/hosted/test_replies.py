"""Replies that differ from the documented ones, and the errors for HTTP statuses."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from contracts import COHERE, QUERY, SCORES, TEXTS
from loopback import Answer, as_json
from podium.errors import BadResponse, KeyRejected, ProviderError, ProviderUnavailable, RateLimited, RequestRejected
from podium.hosted.providers import PROVIDERS
from podium.hosted.wire import error_for

BAD_SCORES = {
    "null": None,
    "string": "0.5",
    "boolean": True,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": -float("inf"),
    "list": [0.5],
    "object": {},
    "huge integer": 10**400,
}


@pytest.mark.parametrize("score", BAD_SCORES.values(), ids=BAD_SCORES)
def test_score_that_is_not_a_finite_number_is_bad_response(contract, server, score):
    server.answer = lambda request: Answer(200, contract.reply_with([0.5, score, 0.2]))
    with pytest.raises(BadResponse):
        contract.load(server.url).rerank(QUERY, TEXTS)


@pytest.mark.parametrize(
    "indices", [[0, 1, 1], [0, 1, 3], [0, 1, -1], [0, 1, "2"], [0, 1, None], [0, 1, 2.0], [0, True, 2]], ids=str
)
def test_wrong_index_is_bad_response(contract, server, indices):
    server.answer = lambda request: Answer(200, contract.reply_with(SCORES, indices))
    with pytest.raises(BadResponse):
        contract.load(server.url).rerank(QUERY, TEXTS)


@pytest.mark.parametrize(
    ("scores", "message"),
    [([0.1, 0.2], "no score for 1 of 3 documents"), ([0.1, 0.2, 0.3, 0.4], "names document 3, but 3 documents were sent")],
    ids=["too few", "too many"],
)
def test_wrong_number_of_results_is_bad_response(contract, server, rerank, scores, message):
    server.answer = lambda request: Answer(200, contract.reply_with(scores))
    with pytest.raises(BadResponse, match=message):
        rerank(contract.load(server.url), QUERY, TEXTS)


BAD_BODIES = {
    "empty": b"",
    "blank": b"   ",
    "HTML": b"<html><body>502 Bad Gateway</body></html>",
    "incomplete": b'{"results": [{"index": 0, "relev',
    "null": b"null",
    "empty list": b"[]",
    "empty object": b"{}",
    "string": b'"x"',
    "number": b"5",
    "results are null": b'{"results": null, "data": null, "rankings": null}',
    "results are an object": b'{"results": {}, "data": {}, "rankings": {}}',
    "results are not objects": b'{"results": [5, null, []], "data": [5], "rankings": [5]}',
    "deeply nested": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_body_that_is_not_a_reply_is_bad_response(contract, server, body):
    server.answer = lambda request: Answer(200, body)
    with pytest.raises(BadResponse):
        contract.load(server.url).rerank(QUERY, TEXTS)


def test_reply_of_five_megabytes_is_read(contract, server, rerank):
    payload = json.loads(contract.reply_with(SCORES))
    if isinstance(payload, list):
        payload[0]["text"] = "x" * 5_000_000
    else:
        payload["padding"] = "x" * 5_000_000
    server.answer = lambda request: as_json(payload)
    assert [result.index for result in rerank(contract.load(server.url), QUERY, TEXTS)] == [1, 2, 0]


LARGE_REPLY = json.dumps(COHERE.reply | {"padding": ['ä \\ "' * 10, None, True, -1.5e3, {}] * 15_000}).encode()


def test_large_reply_is_parsed_like_a_small_one(server):
    """Replies over 1 MB are read by another parser."""
    assert len(LARGE_REPLY) > 1 << 20
    server.answer = lambda request: Answer(200, LARGE_REPLY)
    assert [result.index for result in COHERE.load(server.url).rerank(QUERY, TEXTS)] == [1, 2, 0]


@pytest.mark.parametrize(
    "body",
    [LARGE_REPLY[:-1], b"[" * (2 << 20), b"\xff" * (2 << 20)],
    ids=["incomplete", "deeply nested", "not UTF-8"],
)
def test_large_reply_that_is_damaged_is_bad_response(server, body):
    server.answer = lambda request: Answer(200, body)
    with pytest.raises(BadResponse):
        COHERE.load(server.url).rerank(QUERY, TEXTS)


ERROR_TYPES = {
    301: RequestRejected,
    400: RequestRejected,
    401: KeyRejected,
    402: RequestRejected,
    403: KeyRejected,
    404: RequestRejected,
    413: RequestRejected,
    418: RequestRejected,
    422: RequestRejected,
    429: RateLimited,
    498: KeyRejected,
    500: ProviderUnavailable,
    501: ProviderUnavailable,
    503: ProviderUnavailable,
    529: ProviderUnavailable,
}
"""HTTP status → the type of its error."""
RETRIED = {429, 500, 503, 529}
"""The statuses of ERROR_TYPES after which a request is sent again."""


@pytest.mark.parametrize("status", ERROR_TYPES)
def test_status_decides_error_and_retries(contract, server, rerank, status):
    server.answer = lambda request: Answer(status, b"{}", {"Retry-After": "0"})
    with pytest.raises(ERROR_TYPES[status], match=f"answered {status}") as caught:
        rerank(contract.load(server.url, retries=2), QUERY, TEXTS)
    assert caught.value.status == status
    assert len(server.requests) == (3 if status in RETRIED else 1)


ERROR_BODIES = {
    "message": b'{"message": "no"}',
    "list": b'{"detail": [{"loc": []}]}',
    "HTML": b"<html>",
    "empty": b"",
    "empty list": b"[]",
}


@pytest.mark.parametrize("body", ERROR_BODIES.values(), ids=ERROR_BODIES)
@pytest.mark.parametrize("status", ERROR_TYPES)
def test_body_of_an_error_does_not_change_its_type(server, rerank, status, body):
    server.answer = lambda request: Answer(status, body)
    with pytest.raises(ERROR_TYPES[status]):
        rerank(COHERE.load(server.url), QUERY, TEXTS)
    for row in PROVIDERS:
        error = error_for(row, status, body, [QUERY, *TEXTS])
        assert (type(error), error.status) == (ERROR_TYPES[status], status), row.name
        assert str(status) in str(error), row.name


@pytest.mark.parametrize(
    "body",
    [{"message": "model not known"}, {"detail": "model not known"}, {"error": {"message": "model not known"}}],
    ids=["message", "detail", "error.message"],
)
def test_message_of_the_provider_is_quoted(server, body):
    server.answer = lambda request: as_json(body, 400)
    with pytest.raises(RequestRejected, match=r"answered 400 \(model not known\)"):
        COHERE.load(server.url).rerank("q", ["a"])


@pytest.mark.parametrize("value", ["{}", "0", "[]"])
def test_reply_with_far_more_values_than_documents_is_not_parsed(server, rerank, value):
    content = f'{{"results": [{",".join([value] * 500_000)}]}}'.encode()
    server.answer = lambda request: Answer(200, content)
    with pytest.raises(BadResponse, match="more values than 3 documents explain"):
        rerank(COHERE.load(server.url), QUERY, TEXTS)


def test_reply_in_another_encoding_than_utf8_is_not_parsed(server, rerank):
    """Its values could not be counted: the character U+2200 has a byte that is a quotation mark in UTF-8."""
    content = '{"results": [{"index": 0, "relevance_score": 1}], "text": "\u2200"}'.encode("utf-16-le")
    server.answer = lambda request: Answer(200, content)
    with pytest.raises(BadResponse, match="instead of JSON"):
        rerank(COHERE.load(server.url), QUERY, ["a"])


@pytest.mark.parametrize("count", [-1, 1e300, 10**300, True], ids=["negative", "1e300", "10**300", "boolean"])
def test_impossible_count_is_left_out_of_billed(server, rerank, count):
    server.answer = lambda request: as_json(COHERE.reply | {"meta": {"billed_units": {"search_units": count}}})
    assert rerank(COHERE.load(server.url), QUERY, TEXTS).usage.billed == {}


def test_error_status_is_reported_even_if_its_body_cannot_be_decoded(server, rerank):
    server.answer = lambda request: Answer(401, b"no gzip", {"Content-Encoding": "gzip"})
    with pytest.raises(KeyRejected):
        rerank(COHERE.load(server.url), QUERY, TEXTS)


def test_error_does_not_keep_the_reply_in_memory(server, rerank):
    reply = json.dumps({"message": "no", "padding": "x" * 4_000_000}).encode()
    server.answer = lambda request: Answer(400, reply)

    def rejection():
        with pytest.raises(RequestRejected) as raised:
            rerank(COHERE.load(server.url), QUERY, TEXTS)
        return raised.value

    rejection()  # imports the modules that the first call needs, whose memory would be counted
    tracemalloc.start()
    try:
        errors = [rejection() for _ in range(3)]
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(errors) == 3
    assert kept_bytes < 4_000_000


def test_one_failed_request_of_several_fails_the_call(server, rerank):
    success = COHERE.reply_with([0.5])
    server.answer = lambda request: Answer(400, b"{}") if request.json["documents"] == ["bad"] else Answer(200, success)
    with pytest.raises(ProviderError, match="answered 400"):
        rerank(COHERE.load(server.url, max_documents=1), "q", ["a", "bad", "c", "d"])

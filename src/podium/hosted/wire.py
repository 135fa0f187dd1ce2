"""Pure: the request of a call, the scores in a reply, the error behind a status. No sockets, no clocks, no keys.

Replies are matched by index and checked in full; documents that a provider echoes are never looked at.
"""

from __future__ import annotations

import json
import json.scanner
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from podium.errors import (
    BadResponse,
    InvalidInput,
    KeyRejected,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
)
from podium.hosted.providers import Provider
from podium.json_values import count_values

__all__ = ["RETRIED", "Reply", "error_for", "parts", "read_reply", "request_body", "request_url"]

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
REMEDIES: dict[int, tuple[type[ProviderError], str]] = {
    400: (RequestRejected, "check the model's name and its limits"),
    401: (KeyRejected, "check the API key"),
    402: (RequestRejected, "the account has no credit left; check its billing"),
    403: (KeyRejected, "the API key may not use this model"),
    404: (RequestRejected, "check the model's name and base_url"),
    408: (ProviderUnavailable, "try again later, or raise timeout"),
    409: (ProviderUnavailable, "try again later"),
    413: (RequestRejected, "send fewer or shorter documents, or lower max_documents"),
    422: (RequestRejected, "check the model's name; send fewer or shorter documents, or lower max_documents"),
    425: (ProviderUnavailable, "try again later"),
    429: (RateLimited, "slow down, raise the account's limits, or raise timeout"),
    498: (KeyRejected, "the API key is on the provider's deny list"),
}
SAID_CHARACTERS, WINDOW = 200, 12
SECRET_WINDOW = 4  # so many letters of a key in a row are too many to repeat
PUBLIC_PREFIX = re.compile(r"^(?:Basic |[A-Za-z]{2,6}[-_])")  # such as sk- or jina_: it tells the provider, no secret
ENCODER = json.JSONEncoder(ensure_ascii=False)
LARGE_REPLY_BYTES = 1 << 20
MAX_REPLY_VALUES, MAX_VALUES_PER_DOCUMENT = 100_000, 1_000  # each takes a hundred bytes and more once it is parsed
MAX_COUNT = 1e15  # of tokens, or of what a provider bills


@dataclass(frozen=True, slots=True)
class Reply:
    """What one request brought: a score per document, in order, and what the provider counted."""

    scores: list[float]
    tokens: int | None
    billed: Mapping[str, float]


def request_url(row: Provider, model: str, base_url: str | None) -> str:
    """Return where to post. A base_url may be the server's root, end in a version (/v1), or be the whole address."""
    base, path = (base_url or row.url or "").rstrip("/"), row.path
    in_path = model.replace(".", "_") if row.model_in_path == "dots as underscores" else model
    path = path.replace("{model}", in_path)
    if base.endswith(("/rerank", "/reranking", "/rerankings", "/ranking")):
        return base
    last = base.rpartition("/")[2]
    if last in ("v1", "v2") and path.startswith(("/v1/", "/v2/")):
        path = path[3:]
    return base + path


def request_body(row: Provider, model: str, query: str, texts: Sequence[str]) -> bytes:
    """Return the JSON of one request. Nothing is sent as null: some servers refuse it.

    Documents are written one by one, which lets other threads run in between.
    """
    fields: dict[str, Any] = {row.model_key: model} if row.model_key else {}
    fields["query"] = {row.wrap_query: query} if row.wrap_query else query
    if row.limit_key:
        fields[row.limit_key] = len(texts)
    written = {name: _written(value) for name, value in (fields | dict(row.always)).items()}
    written[row.documents_key] = b"[%s]" % b", ".join([_written({row.wrap: text} if row.wrap else text) for text in texts])
    return b"{%s}" % b", ".join([b"%s: %s" % (_written(name), value) for name, value in written.items()])


def _written(value: Any) -> bytes:
    return ENCODER.encode(value).encode()


def parts(row: Provider, model: str, query: str, texts: Sequence[str], max_documents: int | None) -> list[range]:
    """Split the texts into runs that one request each may hold.

    Raises InvalidInput where a listwise model's documents don't fit in one: its scores would not compare.
    """
    cut = list(_runs(row, query, texts, max_documents or row.max_documents or len(texts)))
    if len(cut) > 1 and row.is_listwise(model):
        raise InvalidInput(
            f"{row.name}:{model} compares all documents with each other, and {len(texts)} documents do not fit in one "
            "request; pass fewer, or use a model that scores each on its own"
        )
    return cut


def _runs(row: Provider, query: str, texts: Sequence[str], most: int) -> Iterator[range]:
    begin, characters = 0, len(query)
    for at, text in enumerate(texts):
        cost = len(text) + (len(query) if row.query_counts_per_document else 0)
        if at > begin and (at - begin == most or (row.max_characters and characters + cost > row.max_characters)):
            yield range(begin, at)
            begin, characters = at, len(query)
        characters += cost
    yield range(begin, len(texts))


def read_reply(row: Provider, content: bytes, asked: int) -> Reply:
    """Return the scores of a success reply, by index: each there once, in range and finite. Raises BadResponse."""
    if count_values(content, MAX_REPLY_VALUES) > MAX_REPLY_VALUES + MAX_VALUES_PER_DOCUMENT * asked:
        raise BadResponse(f"{row.title}'s reply has far more values than {asked} documents explain; check base_url")
    try:
        payload = _parsed(content)
    except (ValueError, RecursionError):
        raise BadResponse(f"{row.title} answered with {_looks_like(content)} instead of JSON; check base_url") from None
    results = _at(payload, row.results_key) if row.results_key else payload
    if not isinstance(results, list):
        where = f"a list in {row.results_key!r}" if row.results_key else "a list"
        raise BadResponse(f"{row.title}'s reply has no {where}; check that base_url speaks this API")
    scores: list[float | None] = [None] * asked
    for result in results:
        index, score = _index(row, result, asked), _score(row, result)
        if scores[index] is not None:
            raise BadResponse(f"{row.title} gave document {index} two scores; none of its reply can be trusted")
        scores[index] = score
    lacking = [str(index) for index, score in enumerate(scores) if score is None]
    if lacking:
        raise BadResponse(f"{row.title} gave no score for {len(lacking)} of {asked} documents (first: index {lacking[0]})")
    return Reply([score for score in scores if score is not None], _tokens(row, payload), dict(_billed(row, payload)))


def _parsed(content: bytes) -> Any:
    """Return the value of a JSON document. A large one is read without holding up other threads.

    The parser in C keeps all threads waiting until it is done, seconds for some tens of megabytes. The one in Python
    is slower, but reads each string, such as a document that is sent back, at the same speed.
    """
    if len(content) < LARGE_REPLY_BYTES:
        return json.loads(content)
    decoder: Any = json.JSONDecoder()
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    return decoder.decode(content.decode(json.detect_encoding(content), "surrogatepass"))


def error_for(row: Provider, status: int, content: bytes, sent: Iterable[str], secrets: Iterable[str] = ()) -> ProviderError:
    """Return the error that a status means, with the provider's message unless that repeats anything `sent` or secret."""
    if status in REMEDIES:
        kind, remedy = REMEDIES[status]
    elif status >= 500:
        kind, remedy = ProviderUnavailable, "try again later"
    elif 300 <= status < 400:
        kind, remedy = RequestRejected, "the address has moved; check base_url"
    else:
        kind, remedy = RequestRejected, "check the model's name and base_url"
    said = _message(content)
    quoted = f" ({said})" if said and not _repeats(said, sent) and not _reveals(said, secrets) else ""
    return kind(f"{row.title} answered {status}{quoted}; {remedy}", status=status)


def _message(content: bytes) -> str:
    """Return what an error body says in words: APIs put it under one of a few keys, or say it in plain text."""
    try:
        payload = json.loads(content[:100_000])
    except (ValueError, RecursionError):
        return ""
    for key in ("message", "detail", "error.message", "error", "msg"):
        said = _at(payload, key)
        if isinstance(said, str) and said.strip():
            return " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())[:SAID_CHARACTERS]
    return ""


def _repeats(said: str, sent: Iterable[str]) -> bool:
    """Say whether a message repeats something of ours: twelve letters in a row, or all of a shorter text, in any case."""
    said = said.lower()
    windows = {said[at : at + WINDOW] for at in range(max(1, len(said) - WINDOW + 1))}
    flat = (" ".join(text.lower().split()) for text in sent)
    return any(text and (text in said or any(window in text for window in windows)) for text in flat)


def _reveals(message: str, secrets: Iterable[str]) -> bool:
    """Say whether a message holds a part of a secret, whatever the message puts between its letters."""
    letters = _letters(message)
    for secret in secrets:
        hidden = _letters(PUBLIC_PREFIX.sub("", secret, count=1))
        windows = {hidden[start : start + SECRET_WINDOW] for start in range(max(1, len(hidden) - SECRET_WINDOW + 1))}
        if hidden and any(window in letters for window in windows):
            return True
    return False


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _index(row: Provider, result: Any, asked: int) -> int:
    index = result.get("index") if isinstance(result, Mapping) else None
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < asked:
        raise BadResponse(f"{row.title}'s reply names document {_kind(index)}, which is none of the {asked} that were sent")
    return index


def _score(row: Provider, result: Mapping[str, Any]) -> float:
    score = result.get(row.score_key)
    if isinstance(score, bool) or not isinstance(score, int | float) or not _finite(score):
        raise BadResponse(f"{row.title}'s reply has {_kind(score)} for {row.score_key!r}, not a finite number")
    return float(score)


def _finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number of a thousand digits
        return False


def _kind(value: Any) -> str:
    """Describe a wrong value without repeating it: it could be a document."""
    return (
        "nothing"
        if value is None
        else str(value)
        if isinstance(value, int | float) and abs(value) < 1e9
        else f"a {type(value).__name__}"
    )


def _tokens(row: Provider, payload: Any) -> int | None:
    count = _at(payload, row.tokens_key) if row.tokens_key else None
    return int(count) if _is_count(count) else None


def _billed(row: Provider, payload: Any) -> Iterator[tuple[str, float]]:
    for key, name in row.billed.items():
        count = _at(payload, key)
        if _is_count(count):
            yield name, count


def _is_count(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_COUNT


def _at(payload: Any, path: str) -> Any:
    for key in path.split("."):
        payload = payload.get(key) if isinstance(payload, Mapping) else None
    return payload


def _looks_like(content: bytes) -> str:
    if not content.strip():
        return "nothing"
    return "a web page" if content.lstrip()[:1] == b"<" else "something else"

"""The wire format of every provider: write requests, and read replies and errors. There is no I/O here.

The scores of a reply are matched to documents by index. Documents that a provider sends back are ignored.
"""

from __future__ import annotations

import codecs
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
from podium.json_values import count_values, parse_json

__all__ = ["Reply", "error_for", "parse_reply", "request_body", "request_ranges", "request_url"]

FULL_PATHS = ("/rerank", "/reranking", "/rerankings", "/ranking")
"""A base_url that ends with one of these, or with the provider's own path, is complete: no path is appended to it."""
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
"""HTTP status → the class of its error, and a remedy for the message."""
MAX_MESSAGE_CHARACTERS = 200  # a provider's own message is quoted up to this length
DOCUMENT_WINDOW = 12  # a message that repeats this many characters of a document is not quoted
SECRET_WINDOW = 4  # a message that repeats this many letters and digits of a key is not quoted
PUBLIC_PREFIX = re.compile(r"^(?:Basic |[A-Za-z]{2,6}[-_])")  # the beginning of a key that is not secret, such as sk- or jina_
ENCODER = json.JSONEncoder(ensure_ascii=False)
LARGE_REPLY_BYTES = 1 << 20  # a reply of this size or more is parsed so that other threads can run
MAX_ERROR_BYTES = 100_000  # the rest of an error's body is not read
# A value takes a hundred bytes of memory or more. So a reply is not parsed if it has more values than MAX_REPLY_VALUES, plus
# MAX_VALUES_PER_DOCUMENT for every document.
MAX_REPLY_VALUES = 100_000
MAX_VALUES_PER_DOCUMENT = 1_000
MAX_COUNT = 1e15  # a larger number of tokens or billed units is ignored


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to one request: a score per document in the order of the request, the number of tokens, and billed counts."""

    scores: list[float]
    tokens: int | None
    billed: Mapping[str, float]


def request_url(provider: Provider, model: str, base_url: str | None) -> str:
    """Return the URL that requests are sent to.

    `base_url` is the server's root, the root with a version (/v1), or the full URL. None means the provider's public server.
    """
    base = (base_url or provider.url or "").rstrip("/")
    path_model = model.replace(".", "_") if provider.model_in_path == "dots as underscores" else model
    path = provider.path.replace("{model}", path_model)
    if base.endswith((*FULL_PATHS, path)):
        return base
    if base.endswith(("/v1", "/v2")) and path.startswith(("/v1/", "/v2/")):
        path = path[3:]
    return base + path


def request_body(provider: Provider, model: str, query: str, texts: Sequence[str]) -> bytes:
    """Return the JSON of one request. No field is null, because some servers refuse that.

    The encoder holds the GIL until it ends, so documents are encoded one by one. Other threads can run in between.
    """
    fields: dict[str, Any] = {provider.model_key: model} if provider.model_key else {}
    fields["query"] = {provider.query_text_key: query} if provider.query_text_key else query
    if provider.limit_key:
        fields[provider.limit_key] = len(texts)
    encoded_fields = {name: _encoded(value) for name, value in (fields | dict(provider.fixed_fields)).items()}
    key = provider.text_key
    documents = [_encoded({key: text} if key else text) for text in texts]
    encoded_fields[provider.documents_key] = b"[%s]" % b", ".join(documents)
    return b"{%s}" % b", ".join([b"%s: %s" % (_encoded(name), value) for name, value in encoded_fields.items()])


def _encoded(value: Any) -> bytes:
    return ENCODER.encode(value).encode()


def request_ranges(provider: Provider, model: str, query: str, texts: Sequence[str], max_documents: int | None) -> list[range]:
    """Return a range per request: the indices of its texts.

    A request has at most `max_documents` texts, or as many as the provider accepts if that is None. It has at most as many
    characters as the provider accepts, unless it has a single text. Raises InvalidInput if the texts of a listwise model do not
    fit in one request, because its scores in different requests cannot be compared.
    """
    ranges = list(_ranges(provider, query, texts, max_documents or provider.max_documents or len(texts)))
    if len(ranges) > 1 and provider.is_listwise(model):
        raise InvalidInput(
            f"{provider.name}:{model} compares all documents with each other, and {len(texts)} documents do not fit in one "
            "request; pass fewer, or use a model that scores each document separately"
        )
    return ranges


def _ranges(provider: Provider, query: str, texts: Sequence[str], max_documents: int) -> Iterator[range]:
    """Yield the ranges of `request_ranges`."""
    start = 0
    characters = len(query)
    for index, text in enumerate(texts):
        added_characters = len(text) + (len(query) if provider.query_counts_per_document else 0)
        is_too_long = provider.max_characters is not None and characters + added_characters > provider.max_characters
        if index > start and (index - start == max_documents or is_too_long):
            yield range(start, index)
            start = index
            characters = len(query)
        characters += added_characters
    yield range(start, len(texts))


def parse_reply(provider: Provider, content: bytes, count: int) -> Reply:
    """Return the reply in the content of a response. `count` is the number of documents in the request.

    Raises BadResponse unless the reply has exactly one finite score for each document.
    """
    title = provider.title
    if count_values(content, MAX_REPLY_VALUES) > MAX_REPLY_VALUES + MAX_VALUES_PER_DOCUMENT * count:
        raise BadResponse(f"{title}'s reply has far more values than {count} documents explain; check base_url")
    try:
        payload = _json_value(content)
    except (ValueError, RecursionError):
        raise BadResponse(f"{title} answered with {_content_kind(content)} instead of JSON; check base_url") from None
    results = _value_at(payload, provider.results_key) if provider.results_key else payload
    if not isinstance(results, list):
        missing = f"a list in {provider.results_key!r}" if provider.results_key else "a list"
        raise BadResponse(f"{title}'s reply does not have {missing}; check that base_url is a server of this API")
    scores = _scores_by_index(provider, results, count)
    unscored = [index for index in range(count) if index not in scores]
    if unscored:
        raise BadResponse(f"{title} gave no score for {len(unscored)} of {count} documents (first: index {unscored[0]})")
    return Reply([scores[index] for index in range(count)], _token_count(provider, payload), dict(_billed(provider, payload)))


def _json_value(content: bytes) -> Any:
    """Return the value of a JSON text, without blocking other threads if it is large.

    The parser in C holds the GIL until it ends, which takes seconds for tens of megabytes. The parser in Python does not hold
    it. This parser is slower, but not for long strings, such as documents that a provider sends back.
    """
    if len(content) < LARGE_REPLY_BYTES:
        return json.loads(_as_text(content))
    decoder: Any = json.JSONDecoder()
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    return decoder.decode(_as_text(content))


def _as_text(content: bytes) -> str:
    """Return the text of UTF-8. JSON has no other encoding, and the values of others could not be counted before parsing."""
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogatepass")


def _scores_by_index(provider: Provider, results: list[Any], count: int) -> dict[int, float]:
    """Return scores by the index of their document. Raises BadResponse for an invalid result, or two results for a document."""
    scores: dict[int, float] = {}
    for result in results:
        index = _index(provider, result, count)
        score = _score(provider, result)
        if index in scores:
            raise BadResponse(f"{provider.title} gave document {index} two scores, so its reply cannot be trusted")
        scores[index] = score
    return scores


def _index(provider: Provider, result: Any, count: int) -> int:
    index = result.get("index") if isinstance(result, Mapping) else None
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        raise BadResponse(f"{provider.title}'s reply names document {_described(index)}, but {count} documents were sent")
    return index


def _score(provider: Provider, result: Mapping[str, Any]) -> float:
    score = result.get(provider.score_key)
    if isinstance(score, bool) or not isinstance(score, int | float) or not _is_finite(score):
        raise BadResponse(f"{provider.title}'s reply has {_described(score)} for {provider.score_key!r}, not a finite number")
    return float(score)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # the number is an int that is too large for a float
        return False


def _described(value: Any) -> str:
    """Describe a wrong value for a message. Only numbers are quoted, because any other value could contain a document."""
    if value is None:
        return "nothing"
    if isinstance(value, int | float) and abs(value) < 1e9:  # a larger number could have a thousand digits
        return str(value)
    return f"a {type(value).__name__}"


def _content_kind(content: bytes) -> str:
    if not content.strip():
        return "nothing"
    return "a web page" if content.lstrip().startswith(b"<") else "something else"


def _token_count(provider: Provider, payload: Any) -> int | None:
    """Return the number of tokens in a reply, None if it is missing or not a plausible number."""
    count = _value_at(payload, provider.tokens_key) if provider.tokens_key else None
    return int(count) if _is_count(count) else None


def _billed(provider: Provider, payload: Any) -> Iterator[tuple[str, float]]:
    """Yield (unit, count) for each billed count in a reply that is a plausible number."""
    for path, unit in provider.billed.items():
        count = _value_at(payload, path)
        if _is_count(count):
            yield unit, count


def _is_count(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_COUNT


def _value_at(payload: Any, path: str) -> Any:
    """Return the value at a dotted path, None if there is none."""
    for key in path.split("."):
        payload = payload.get(key) if isinstance(payload, Mapping) else None
    return payload


def error_for(
    provider: Provider, status: int, content: bytes, sent_texts: Iterable[str], secrets: Iterable[str] = ()
) -> ProviderError:
    """Return the error for a response with this status and content.

    The provider's message is quoted unless it repeats part of a sent text (the query or a document) or of a secret.
    """
    if status in REMEDIES:
        error_class, remedy = REMEDIES[status]
    elif status >= 500:
        error_class, remedy = ProviderUnavailable, "try again later"
    elif 300 <= status < 400:
        error_class, remedy = RequestRejected, "the address has moved; check base_url"
    else:
        error_class, remedy = RequestRejected, "check the model's name and base_url"
    message = _message(content)
    is_safe = message and not _repeats(message, sent_texts) and not _reveals(message, secrets)
    quoted = f" ({message})" if is_safe else ""
    return error_class(f"{provider.title} answered {status}{quoted}; {remedy}", status=status)


def _message(content: bytes) -> str:
    """Return the message in the body of an error, "" if no field that APIs use for a message has one."""
    try:
        payload = parse_json(content[:MAX_ERROR_BYTES])
    except ValueError:
        return ""
    for path in ("message", "detail", "error.message", "error", "msg"):
        message = _value_at(payload, path)
        if isinstance(message, str) and message.strip():
            printable = "".join(character if character.isprintable() else " " for character in message)
            return " ".join(printable.split())[:MAX_MESSAGE_CHARACTERS]
    return ""


def _repeats(message: str, texts: Iterable[str]) -> bool:
    """Whether a message repeats DOCUMENT_WINDOW characters of a text, or all of a shorter text. Case is ignored."""
    message = message.lower()
    windows = _windows(message, DOCUMENT_WINDOW)
    for text in texts:
        normalized = " ".join(text.lower().split())
        if normalized and (normalized in message or any(window in normalized for window in windows)):
            return True
    return False


def _reveals(message: str, secrets: Iterable[str]) -> bool:
    """Whether a message repeats part of a secret, even with other characters between its letters and digits."""
    message_letters = _letters(message)
    for secret in secrets:
        secret_letters = _letters(PUBLIC_PREFIX.sub("", secret, count=1))
        if secret_letters and any(window in message_letters for window in _windows(secret_letters, SECRET_WINDOW)):
            return True
    return False


def _windows(text: str, size: int) -> set[str]:
    """Return every substring of this size, or the text itself if it is shorter."""
    return {text[start : start + size] for start in range(max(1, len(text) - size + 1))}


def _letters(text: str) -> str:
    """Return the letters and digits of a text, in lower case."""
    return "".join(character for character in text.lower() if character.isalnum())

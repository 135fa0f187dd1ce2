"""Estimates of the characters and the memory of a request's texts, made before its documents are converted to texts.

A field that is a list or an object is converted to YAML, which indents each line by its depth. So a small document can become
a huge text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from podium.documents import TEXT_KEYS
from podium.server.dialects.call import Call, Question, Refusal
from podium.server.http.bodies import Body

__all__ = ["Size", "call_bytes", "character_counts", "document_size", "token_bytes"]

NUMBER_CHARACTERS = 4  # average number of characters of a number, boolean or null
UNCOUNTED_INDENTATION = 4  # the first spaces of a line, which are few in usual documents
LINE_BREAKS = "\n\r\x85\u2028\u2029"  # YAML indents the text after each of these characters
YAML_BYTES_PER_VALUE = 450  # memory while a document is converted to YAML, measured with CSafeDumper
BYTES_PER_TOKEN = 8  # the id of a token, and its segment
REPLY_BYTES_PER_DOCUMENT = 400  # the size of a result without its document and text


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a JSON value.

    - `character_count`: about how many characters the value has as YAML, with keys and indentation.
    - `value_count`: how many strings, numbers, lists and objects the value contains. It counts as one of them.
    """

    character_count: int = 0
    value_count: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.character_count + other.character_count, self.value_count + other.value_count)


def document_size(document: Any) -> Size:
    """Return the size of a document. The document may be too deeply nested for a recursion, so it is read level by level."""
    character_count = 0
    value_count = 0
    depth = 0
    level = [document]
    while level:
        indentation = max(0, 2 * depth - UNCOUNTED_INDENTATION)  # YAML indents by two spaces per level
        value_count += len(level)
        next_level: list[Any] = []
        for value in level:
            if isinstance(value, str):
                breaks = sum(map(value.count, LINE_BREAKS)) if indentation else 0
                character_count += len(value) + indentation * (1 + breaks)
            elif isinstance(value, dict):
                character_count += sum(len(key) + indentation for key in value)
                next_level.extend(value.values())
            elif isinstance(value, list):
                next_level.extend(value)
            else:
                character_count += NUMBER_CHARACTERS + indentation
        level = next_level
        depth += 1
    return Size(character_count, value_count)


def character_counts(call: Call, max_characters: int) -> list[int]:
    """Return, for each question, the number of characters of its query and its documents together.

    Raises Refusal if a query or a document has more than `max_characters`.
    """
    return [_character_count(question, max_characters) for question in call.questions]


def call_bytes(call: Call, body: Body) -> int:
    """Return an estimate of the memory that a call takes besides its body: its texts in YAML, and its reply, in bytes.

    The other texts are strings of the body, whose memory is already counted.
    """
    yaml_sizes = [_yaml_size(document, call.rank_by) for question in call.questions for document in question.documents]
    text_bytes = body.character_bytes * sum(size.character_count for size in yaml_sizes)
    # Documents are converted to YAML one at a time.
    conversion_bytes = YAML_BYTES_PER_VALUE * max((size.value_count for size in yaml_sizes), default=0)
    reply_bytes = REPLY_BYTES_PER_DOCUMENT * call.document_count
    if call.return_documents:
        # A reply contains each document twice (Cohere's as `results` and `data`), or each document and its text. As JSON, a
        # text can be three times as large as in memory, because of escapes.
        reply_bytes += body.escaped_size + max(body.escaped_size, 3 * text_bytes)
    return text_bytes + conversion_bytes + 2 * reply_bytes  # the reply is in memory as a string and as bytes


def token_bytes(call: Call, counts: Sequence[int], max_length: int) -> int:
    """Return an upper bound for the memory of the tokens of all pairs, which a model has at the same time, in bytes.

    A pair has the tokens of its query, and at most `max_length`. `counts` are the numbers of characters of the questions.
    """
    token_count = 0
    for question, character_count in zip(call.questions, counts, strict=True):
        document_count = len(question.documents)
        token_count += min(document_count * max_length, document_count * len(question.query) + character_count)
    return BYTES_PER_TOKEN * token_count


def _character_count(question: Question, max_characters: int) -> int:
    """Return the number of characters of a question. Raises Refusal as `character_counts` does."""
    named_texts = [("the query", question.query)]
    named_texts += [(f"document {index}", document) for index, document in enumerate(question.documents)]
    total = 0
    for name, text in named_texts:
        count = document_size(text).character_count
        if count > max_characters:
            raise Refusal(400, f"{name} has {count:,} characters; this server accepts {max_characters:,}")
        total += count
    return total


def _yaml_size(document: Any, fields: Sequence[str] | None) -> Size:
    """Return an upper bound for the size of the text of a document in YAML, and Size() if the text is a string of the body.

    With a dotted name, such as "body.text", all of the object "body" is counted, although only a part of it may be read.
    """
    if not isinstance(document, dict):
        return Size()
    names: set[str] = set()
    for name in fields or TEXT_KEYS:
        names.add(name)
        names.add(name.partition(".")[0])
    values = [document[name] for name in names if name in document]
    has_several_fields = fields is not None and len(fields) > 1
    if not has_several_fields and all(isinstance(value, str) for value in values):
        return Size()
    return sum(map(document_size, values), Size())

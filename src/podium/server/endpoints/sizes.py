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

__all__ = ["Size", "call_bytes", "character_counts", "document_size"]

NUMBER_CHARACTERS = 4  # average number of characters of a number, boolean or null
UNCOUNTED_INDENTATION = 4  # spaces at the beginning of a line that NUMBER_CHARACTERS already covers
LINE_BREAKS = "\n\r\x85\u2028\u2029"  # YAML indents the text after each of these characters
YAML_BYTES_PER_VALUE = 450  # memory while a document is converted to YAML, measured with CSafeDumper
REPLY_BYTES_PER_DOCUMENT = 400  # the size of a result without its document and text


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a JSON value.

    - `characters`: about how many characters the value has as YAML, with keys and indentation.
    - `values`: how many strings, numbers, lists and objects the value contains. It counts as one of them.
    """

    characters: int = 0
    values: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.characters + other.characters, self.values + other.values)


def document_size(document: Any) -> Size:
    """Return the size of a document. The document may be too deeply nested for a recursion, so it is read level by level."""
    characters = 0
    values = 0
    depth = 0
    level = [document]
    while level:
        indentation = max(0, 2 * depth - UNCOUNTED_INDENTATION)  # YAML indents by two spaces per level
        values += len(level)
        next_level: list[Any] = []
        for value in level:
            if isinstance(value, str):
                breaks = sum(map(value.count, LINE_BREAKS)) if indentation else 0
                characters += len(value) + indentation * (1 + breaks)
            elif isinstance(value, dict):
                characters += sum(map(len, value)) + indentation * len(value)
                next_level.extend(value.values())
            elif isinstance(value, list):
                next_level.extend(value)
            else:
                characters += NUMBER_CHARACTERS + indentation
        level = next_level
        depth += 1
    return Size(characters, values)


def character_counts(call: Call, max_characters: int) -> list[int]:
    """Return, for each question, the number of characters of its query and its documents together.

    Raises Refusal if a query or a document has more than `max_characters`.
    """
    return [_character_count(question, max_characters) for question in call.questions]


def call_bytes(call: Call, body: Body) -> int:
    """Return about how many bytes of memory the texts and the reply of a call take at most."""
    sizes = [_yaml_size(document, call.rank_by) for question in call.questions for document in question.documents]
    text_bytes = body.character_bytes * sum(size.characters for size in sizes)
    yaml_bytes = YAML_BYTES_PER_VALUE * max((size.values for size in sizes), default=0)  # documents are converted one at a time
    # A reply contains each document twice, or the document and its text. Escapes can make a text three times as large as it is
    # in memory. The whole reply is in memory twice: as a string and as bytes.
    document_bytes = body.escaped_size + max(body.escaped_size, 3 * text_bytes) if call.return_documents else 0
    reply_bytes = 2 * (document_bytes + REPLY_BYTES_PER_DOCUMENT * call.document_count)
    return text_bytes + yaml_bytes + reply_bytes


def _character_count(question: Question, max_characters: int) -> int:
    """Return the number of characters of a question. Raises Refusal as `character_counts` does."""
    total = 0
    for index, document in enumerate([question.query, *question.documents], start=-1):  # -1 is the query
        characters = document_size(document).characters
        if characters > max_characters:
            name = "the query" if index < 0 else f"document {index}"
            raise Refusal(400, f"{name} has {characters:,} characters; this server accepts {max_characters:,}")
        total += characters
    return total


def _yaml_size(document: Any, fields: Sequence[str] | None) -> Size:
    """Return the size of the fields of a document that are converted to YAML. Return Size() if its text is used unchanged."""
    if not isinstance(document, dict):
        return Size()
    names: set[str] = set()
    for name in fields or TEXT_KEYS:
        names.add(name)
        names.add(name.partition(".")[0])  # "body.text" is a field of this name, or a field of the object "body"
    values = [document[name] for name in names if name in document]
    if len(fields or ()) <= 1 and all(isinstance(value, str) for value in values):
        return Size()  # only several fields, or a list or an object, become YAML
    return sum(map(document_size, values), Size())

"""Upper bounds of the characters, tokens and memory of a request's texts, computed before the texts are made.

A field that is a list or an object is read as YAML, which indents each line by its depth: a small document can become a huge
text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from podium.documents import TEXT_KEYS
from podium.server.dialects.call import Call, Question, Refusal
from podium.server.http.bodies import Body

__all__ = ["Size", "document_size", "memory_of", "question_sizes"]

NUMBER_CHARACTERS = 4  # of a number, boolean or null, on average
FREE_INDENTATION = 4  # of a line, which NUMBER_CHARACTERS already covers
LINE_BREAKS = "\n\r\x85\u2028\u2029"  # of YAML, which indents after each
YAML_BYTES_PER_VALUE = 450  # while YAML is written, measured with CSafeDumper
REPLY_BYTES_PER_DOCUMENT = 400  # without the document


@dataclass(frozen=True, slots=True)
class Size:
    """The characters of a JSON value as text, keys and indentation included, and the number of values in it."""

    characters: int = 0
    values: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.characters + other.characters, self.values + other.values)


def document_size(document: Any) -> Size:
    """Return the size of a document, at any depth."""
    characters = 0
    values = 0
    depth = 0
    level = [document]
    while level:
        indentation = max(0, 2 * depth - FREE_INDENTATION)
        values += len(level)
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, str):
                breaks = sum(map(value.count, LINE_BREAKS)) if indentation else 0
                characters += len(value) + indentation * (1 + breaks)
            elif isinstance(value, dict):
                characters += sum(map(len, value)) + indentation * len(value)
                deeper.extend(value.values())
            elif isinstance(value, list):
                deeper.extend(value)
            else:
                characters += NUMBER_CHARACTERS + indentation
        level = deeper
        depth += 1
    return Size(characters, values)


def question_sizes(call: Call, max_characters: int) -> list[int]:
    """Return the number of characters of each question. Raises Refusal if its query or a document is too long."""
    return [_question_size(question, max_characters) for question in call.questions]


def memory_of(call: Call, body: Body) -> int:
    """Return the most bytes that the texts of a call, and then its reply, can take."""
    sizes = [_yaml_size(document, call.rank_by) for question in call.questions for document in question.documents]
    text_bytes = body.width * sum(size.characters for size in sizes)
    yaml_bytes = YAML_BYTES_PER_VALUE * max((size.values for size in sizes), default=0)  # one at a time
    # Replies contain each document at most twice, or once and then its text. They are built as text, then encoded.
    echo_bytes = body.escaped_size + max(body.escaped_size, 3 * text_bytes) if call.echo else 0
    return text_bytes + yaml_bytes + 2 * (echo_bytes + REPLY_BYTES_PER_DOCUMENT * call.documents)


def _question_size(question: Question, max_characters: int) -> int:
    total = 0
    for index, document in enumerate([question.query, *question.documents], start=-1):
        characters = document_size(document).characters
        if characters > max_characters:
            name = "the query" if index < 0 else f"document {index}"
            raise Refusal(400, f"{name} has {characters:,} characters; this server accepts {max_characters:,}")
        total += characters
    return total


def _yaml_size(document: Any, fields: Sequence[str] | None) -> Size:
    """Return the size of the part of a document that is written as YAML, nothing for a document that is read as it is."""
    if not isinstance(document, dict):
        return Size()
    names = {part for name in fields or TEXT_KEYS for part in (name, name.partition(".")[0])}
    parts = [document[name] for name in names if name in document]
    if len(fields or ()) <= 1 and all(isinstance(part, str) for part in parts):
        return Size()
    return sum(map(document_size, parts), Size())

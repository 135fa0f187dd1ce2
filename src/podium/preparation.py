"""Convert documents to text for asynchronous calls, without blocking the event loop.

A few short documents are converted on the event loop. All other conversions share one thread, because they hold Python's lock
(the GIL): with more threads, they would not be faster and would delay the event loop more. Like the steps of local models, most
steps are taken from the call with the least work left, so that small calls do not wait for large ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podium.documents import TextReader
from podium.schedule import Work, Workers
from podium.threads import to_thread

__all__ = ["read_texts", "reading_time"]

STEP_TIME = 1_000  # microseconds of a step; work that takes less time is done on the event loop
MAX_TIME = 10_000_000  # microseconds; longer work is not measured more exactly, because a document may contain itself
VALUE_TIME = 10  # microseconds to convert a value of a record to YAML
ASCII_CHARACTERS = 400  # characters of an ASCII string that are read in a microsecond
OTHER_CHARACTERS = 4  # the same for other strings, in which unpaired surrogates may be replaced, and for white space

_workers = Workers(1)


async def read_texts(reader: TextReader) -> None:
    """Read all documents of a reader. Raises InvalidInput. Cancelling it stops steps that have not begun."""
    documents = reader.documents
    if reading_time(documents, STEP_TIME) < STEP_TIME:
        reader.read(range(len(documents)))
        return
    time_left = await to_thread(reading_time, documents, MAX_TIME)
    documents_per_step = max(1, len(documents) * STEP_TIME // time_left)
    steps = [range(begin, begin + documents_per_step) for begin in range(0, len(documents), documents_per_step)]

    errors: list[Exception] = []  # If Work had the error, each would refer to the other, and to the documents.

    def run(step_indices: Sequence[int]) -> None:
        try:
            for i in step_indices:
                if not errors:
                    reader.read(steps[i])
        except Exception as error:
            errors.append(error)

    # All steps have the same length. So they run in the order of the documents, and an error is that of the first document.
    await _workers.arun(Work([time_left // len(steps)] * len(steps), run))
    if errors:
        raise errors.pop()


def reading_time(documents: Sequence[Any], limit: int) -> int:
    """Return about how many microseconds it takes to convert documents to text, `limit` if it takes longer.

    An object of an unknown class counts as `limit`, because its attributes may be computed.
    """
    time = len(documents)
    level = list(documents[: limit + 1])
    value_time = 0  # the time of a document, in which one field may be used unchanged
    while level and time < limit:
        next_level: list[Any] = []
        for value in level:
            time += value_time
            if isinstance(value, str):
                time += _string_time(value)
            elif isinstance(value, Mapping):
                time += VALUE_TIME * len(value)
                next_level.extend(value.values())
            elif isinstance(value, list | tuple):
                next_level.extend(value)
            elif value is not None and not isinstance(value, bool | int | float):
                return limit
            if time + len(next_level) >= limit:  # lists that contain each other would fill the memory
                return limit
        level = next_level
        value_time = VALUE_TIME
    return min(time, limit)


def _string_time(text: str) -> int:
    is_fast = text.isascii() and not text[:1].isspace()
    return len(text) // (ASCII_CHARACTERS if is_fast else OTHER_CHARACTERS)

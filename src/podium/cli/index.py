"""podium index: put the documents of a file where they can be searched."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from podium.documents import TEXT_KEYS
from podium.errors import InvalidInput, PodiumError
from podium.places import embedder, is_url, listed, split_url
from podium.progress import bar
from podium.sources import files
from podium.sources.embedded import LANGUAGES, EmbeddedIndex, is_index
from podium.sources.loading import identified, load_into

__all__ = ["index"]


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--to", "where", required=True, metavar="PLACE", help="redis://host:port/name, or a folder.")
@click.option("--text", "fields", metavar="FIELD,FIELD", help="The fields to search.  [default: content, text …]")
@click.option("--embed", "model", metavar="MODEL", help="An embedder, to search by vectors too: org/model or ./folder.")
@click.option("--id", "id_field", metavar="FIELD", help="The field that says which document it is.  [default: all it says]")
@click.option("--tag", "tags", metavar="FIELD,FIELD", help="On Redis: fields to filter by, as words.")
@click.option("--number", "numbers", metavar="FIELD,FIELD", help="On Redis: fields to filter by, as numbers.")
@click.option(
    "--language", type=click.Choice([*LANGUAGES, "none"]), help="In a folder: stemmer, stop-words.  [default: english]"
)
@click.option("--format", "kind", type=click.Choice(list(files.FORMATS)), help="What FILE holds.  [default: by its name]")
def index(
    file: str,
    where: str,
    fields: str | None,
    model: str | None,
    id_field: str | None,
    tags: str | None,
    numbers: str | None,
    language: str | None,
    kind: str | None,
) -> None:
    """Index a file's documents.

    FILE is .jsonl, .csv, .parquet, .json or .txt, also with .gz. An index that is missing is made. Run again after an
    interruption, it goes on where it was; run again on the same file, it changes nothing.
    """
    began = time.perf_counter()
    count, first = _looked_through(file, kind, id_field)
    text = listed(fields) or ([] if not is_url(where) else [_own_text_field(first, file)])
    filters = {"tags": listed(tags), "numbers": listed(numbers)}
    with _target(where, text, model, filters, language, count) as target, bar(count, True, what="indexing") as advance:
        added, kept = load_into(target, identified(files.stream(file, kind), id_field), advance)
    there = f", {kept} were there already" if kept else ""
    print(f"{added} documents indexed{there}; {time.perf_counter() - began:.1f} s")


def _looked_through(file: str, kind: str | None, id_field: str | None) -> tuple[int, Any]:
    """Read the file once before anything is written: its documents are whole and have ids of their own."""
    count, first = 0, None
    for _, document in identified(files.stream(file, kind), id_field):
        first = document if first is None else first
        count += 1
    if not count:
        raise InvalidInput(f"{file} holds no documents")
    return count, first


@contextlib.contextmanager
def _target(
    where: str, text: list[str], model: str | None, filters: dict[str, list[str]], language: str | None, count: int
) -> Iterator[Any]:
    if is_url(where):
        if language is not None:
            raise InvalidInput("--language is for an index in a folder; Redis stems by its own default, English")
        from podium.sources.redis_index import RedisIndex

        url, name = split_url(where)
        on_redis = RedisIndex(url, name, text=text, embed=embedder(model), tags=filters["tags"], numbers=filters["numbers"])
        with contextlib.closing(on_redis):
            on_redis.prepare(count)
            yield on_redis
            on_redis.finish()
        return
    if filters["tags"] or filters["numbers"]:
        raise InvalidInput("--tag and --number are for an index on Redis")
    made = not is_index(where)
    folder = _folder(where, text, model, language)
    try:
        yield folder
    except PodiumError:
        if made and not len(folder):  # an empty index would only stand in the way of trying again
            shutil.rmtree(where)
        raise


def _folder(where: str, text: list[str], model: str | None, language: str | None) -> EmbeddedIndex:
    if not is_index(where):
        chosen = None if language == "none" else language or "english"
        return EmbeddedIndex.create(where, text=text or None, embed=embedder(model), language=chosen)
    if text or language:
        raise InvalidInput(f"{where} is an index already, with fields and language of its own; leave --text and --language out")
    own = EmbeddedIndex.open(where).embedder
    return EmbeddedIndex.open(where, embed=embedder(model or own))


def _own_text_field(first: Any, file: str) -> str:
    """Return the field that says what a document is about, where none was named."""
    if isinstance(first, str):
        return "content"
    has = [key for key in TEXT_KEYS if key in first]
    if not has:
        names = ", ".join(map(str, first))
        raise InvalidInput(
            f"{Path(file).name} has none of the fields {', '.join(TEXT_KEYS)}; it has {names}. Name them with --text"
        )
    return has[0]

"""podium index: put the documents of a file where they can be searched."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from podium.documents import TEXT_KEYS
from podium.errors import InvalidInput
from podium.places import embedder, is_url, listed, split_url
from podium.progress import bar
from podium.sources import files
from podium.sources.embedded import LANGUAGES, EmbeddedIndex, is_index
from podium.sources.loading import Target, identified, load_into

__all__ = ["index"]

Opened = tuple[Callable[[list[Any]], None], Callable[[int], contextlib.AbstractContextManager[Target]]]


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--to", "where", required=True, metavar="PLACE", help="redis://host:port/name, or a folder.")
@click.option("--text", "fields", metavar="FIELD,FIELD", help="The fields to search.  [default: content, text …]")
@click.option("--embed", "model", metavar="MODEL", help="An embedder, to search by vectors too: org/model or ./folder.")
@click.option("--id", "id_field", metavar="FIELD", help="The field that says which document it is.  [default: all it says]")
@click.option("--tag", "tags", metavar="FIELD,FIELD", help="On Redis: fields to filter by, as words.")
@click.option("--number", "numbers", metavar="FIELD,FIELD", help="On Redis: fields to filter by, as numbers.")
@click.option(
    "--language",
    type=click.Choice([*LANGUAGES, "none"]),
    metavar="NAME",
    help="In a folder: stemmer, stop-words.  [default: english]",
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
    if (first := next(files.stream(file, kind), None)) is None:
        raise InvalidInput(f"{file} holds no documents")
    if is_url(where):
        if language is not None:
            raise InvalidInput("--language is for an index in a folder; Redis stems by its own default, English")
        text = listed(fields) or [_own_text_field(first, file)]
        target = _on_redis(where, text, model, listed(tags), listed(numbers))
    else:
        if tags or numbers:
            raise InvalidInput("--tag and --number are for an index on Redis")
        target = _in_folder(where, listed(fields), model, language)
    with target as (check, begin):
        count = _looked_through(file, kind, id_field, check, [*listed(fields), *listed(tags), *listed(numbers)])
        with begin(count) as index, bar(count, True, what="indexing") as advance:
            added, kept = load_into(index, identified(files.stream(file, kind), id_field), advance)
    there = f", {kept} were there already" if kept else ""
    print(f"{added} documents indexed{there}; {time.perf_counter() - began:.1f} s")
    if cut := getattr(index.embed, "truncated", 0):
        click.echo(f"note: {cut} of them are longer than the embedder reads; their vectors are of how they begin", err=True)


def _looked_through(
    file: str, kind: str | None, id_field: str | None, check: Callable[[list[Any]], None], named: list[str]
) -> int:
    """Read the file once before anything is written: its documents are whole, can be kept, and have ids of their own.

    A field that is named and that no document has is a slip.
    """
    count, unseen = 0, set(named)
    for _, document in identified(files.stream(file, kind), id_field):
        try:
            check([document])
        except InvalidInput as error:
            raise InvalidInput(str(error).replace("document 0", f"document {count}", 1)) from None
        unseen = unseen - set(document) if isinstance(document, dict) else set()
        count += 1
    if unseen:
        raise InvalidInput(f"no document of {file} has the field {', '.join(sorted(unseen))}")
    return count


@contextlib.contextmanager
def _on_redis(where: str, text: list[str], model: str | None, tags: list[str], numbers: list[str]) -> Iterator[Opened]:
    """Give what checks documents, and what begins to take them."""
    from podium.sources.redis_index import RedisIndex

    url, name = split_url(where)
    index = RedisIndex(url, name, text=text, embed=embedder(model), tags=tags, numbers=numbers)

    @contextlib.contextmanager
    def begin(count: int) -> Iterator[Target]:
        index.prepare(count)
        yield index
        index.finish()

    with contextlib.closing(index):
        yield index.check, begin


@contextlib.contextmanager
def _in_folder(where: str, text: list[str], model: str | None, language: str | None) -> Iterator[Opened]:
    """Give what checks documents, and what begins to take them: nothing is made before all are known to fit."""
    there = is_index(where)
    chosen = None if language == "none" else language or "english"
    checked = EmbeddedIndex.open(where) if there else EmbeddedIndex.create(None, text=text or None, language=chosen)
    if (text and text != checked.text_fields) or (language and chosen != checked.language):
        searched = "each document's own text" if checked.text_fields is None else f"--text {','.join(checked.text_fields)}"
        raise InvalidInput(f"{where} was made with {searched} and --language {checked.language or 'none'}; it keeps them")

    @contextlib.contextmanager
    def begin(count: int) -> Iterator[Target]:
        if there:
            yield EmbeddedIndex.open(where, embed=embedder(model or checked.embedder))
        else:
            yield EmbeddedIndex.create(where, text=text or None, embed=embedder(model), language=chosen)

    yield checked.check, begin


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

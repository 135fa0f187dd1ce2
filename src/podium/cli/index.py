"""podium index: put the documents of a file where they can be searched; list, thin out and drop such indexes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import podium.formats as formats
from podium.cli.index_targets import FolderTarget, IndexOptions, IndexTarget, delete, drop, listing, redis_target
from podium.cli.tables import print_rows
from podium.documents import TEXT_KEYS, has_field
from podium.errors import InvalidInput
from podium.inputs import comma_list
from podium.places import is_url, weights
from podium.progress import bar
from podium.sources.embedded.index import LANGUAGES
from podium.sources.loading import identified, load_into

__all__ = ["index"]


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--to", "where", required=True, metavar="PLACE", help="redis://host:port/name, or a folder.")
@click.option("--text", metavar="FIELD,FIELD", help="The fields to search, weighted as in title^2,text.  [default: content, …]")
@click.option("--embed", metavar="MODEL", help="An embedder, to search by vectors too: org/model or ./folder.")
@click.option("--id", "id_field", metavar="FIELD", help="The field that says which document it is.  [default: all it says]")
@click.option("--tag", "tags", metavar="FIELD,FIELD", help="On Redis: fields to filter by, as words.")
@click.option("--number", "numbers", metavar="FIELD,FIELD", help="On Redis: fields to filter by, as numbers.")
@click.option("--storage", type=click.Choice(["hash", "json"]), help="On Redis: how documents are kept.  [default: hash]")
@click.option("--prefix", metavar="PREFIX", help="On Redis: how the documents' keys begin.  [default: the index's name and :]")
@click.option("--vector", metavar="FIELD", help="On Redis: the field of the vectors.  [default: embedding]")
@click.option("--tag-separator", metavar="LETTER", help="On Redis: what stands between tags.  [default: ,]")
@click.option("--m", type=click.IntRange(min=1), metavar="N", help="On Redis: HNSW's M, neighbours per vector.  [default: 16]")
@click.option("--ef-construction", type=click.IntRange(min=1), metavar="N", help="On Redis: of HNSW.  [default: 200]")
@click.option(
    "--language",
    type=click.Choice([*LANGUAGES, "none"]),
    metavar="NAME",
    help="In a folder: stemmer, stop-words.  [default: english]",
)
@click.option("--format", "kind", type=click.Choice(list(formats.FORMATS)), help="What FILE holds.  [default: by its name]")
@click.option("--list", "is_list", is_flag=True, help="List the index at PLACE, or all those of a server or folder.")
@click.option("--delete", "deleted", multiple=True, metavar="ID", help="Delete a document; again for more.")
@click.option("--drop", "is_drop", is_flag=True, help="Delete the index and all of its documents.")
def index(
    file: str | None,
    where: str,
    text: str | None,
    id_field: str | None,
    tags: str | None,
    numbers: str | None,
    kind: str | None,
    is_list: bool,
    deleted: Sequence[str],
    is_drop: bool,
    **options: Any,
) -> None:
    """Index a file's documents, or look after an index.

    FILE is .jsonl, .csv, .parquet, .json or .txt, also with .gz. An index that is missing is made. Run again after an
    interruption, it goes on where it was; run again on the same file, it changes nothing.
    """
    actions: list[tuple[bool, Callable[[], None]]] = [
        (is_list, lambda: _list(where)),
        (bool(deleted), lambda: print(f"{delete(where, deleted)} documents deleted")),
        (is_drop, lambda: _drop(where)),
    ]
    chosen = [action for is_chosen, action in actions if is_chosen]
    if len(chosen) + (file is not None) != 1:
        raise InvalidInput("name one FILE to index, or one of --list, --delete and --drop")
    if file is None:
        return chosen[0]()
    made_with = IndexOptions(
        text=weights(text), ids_from=id_field or "", tags=comma_list(tags), numbers=comma_list(numbers), **options
    )
    return _load(file, kind, where, made_with)


def _list(where: str) -> None:
    if rows := listing(where):
        print_rows(("index", "documents", "fields"), rows)
    else:
        click.echo(f"there is no index in {where}; make one with podium index FILE --to PLACE", err=True)


def _drop(where: str) -> None:
    count = drop(where)
    print(f"{where.rstrip('/').rpartition('/')[2]} dropped" + ("" if count is None else f", with {count} documents"))


def _load(file: str, kind: str | None, where: str, options: IndexOptions) -> None:
    began = time.perf_counter()
    named = [*(options.text or ()), *options.tags, *options.numbers]
    with contextlib.closing(_target(file, kind, where, options)) as target:
        count = _checked_documents(file, kind, options.ids_from, target, named)
        with bar(100, True, what="waiting for the server to scan its keys") as waited:
            target.prepare(count, waited)
        with bar(count, True, what="indexing") as advance:
            added, kept = load_into(target, identified(formats.stream(file, kind), options.ids_from or None), advance)
        target.finish()
    there = f", {kept} were there already" if kept else ""
    print(f"{added} documents indexed{there}; {time.perf_counter() - began:.1f} s")
    truncated = getattr(target.embed, "truncated", 0)
    note = f"{truncated} of them are longer than the embedder reads; their vectors are of how they begin"
    for each in (*([note] if truncated else []), *target.notes):
        click.echo(f"note: {each}", err=True)


def _target(file: str, kind: str | None, where: str, options: IndexOptions) -> IndexTarget:
    if (first := next(formats.stream(file, kind), None)) is None:
        raise InvalidInput(f"{file} holds no documents")
    if is_url(where):
        if options.language is not None:
            raise InvalidInput("--language is for an index in a folder; Redis stems by its own default, English")
        return redis_target(where, replace(options, text=options.text or {_own_text_field(first, file): 1.0}))
    if unfit := options.on_redis():
        names = {"tags": "tag", "numbers": "number"}
        flags = ", ".join(f"--{names.get(name, name).replace('_', '-')}" for name in unfit)
        raise InvalidInput(f"{flags}: only for an index on Redis, not one in a folder")
    return FolderTarget(where, options)


def _checked_documents(file: str, kind: str | None, ids_from: str, target: IndexTarget, named: list[str]) -> int:
    """Read the file once before anything is written: its documents are whole, can be kept, and have ids of their own.

    A field that is named and that no document has is a slip.
    """
    count, unseen = 0, set(named)
    for name, document in identified(formats.stream(file, kind), ids_from or None):
        try:
            target.check([document], [name])
        except InvalidInput as error:
            number = f"document {count}"
            parts = [part.replace("document 0", number, 1) if isinstance(part, str) else part for part in error.args]
            raise InvalidInput(*parts) from None
        unseen = {name for name in unseen if not has_field(document, name)} if isinstance(document, dict) else set()
        count += 1
    if unseen:
        raise InvalidInput(f"no document of {file} has the field {', '.join(sorted(unseen))}")
    return count


def _own_text_field(first: Any, file: str) -> str:
    """Return the field that holds a document's text, where none was named."""
    if isinstance(first, str):
        return "content"
    has = [key for key in TEXT_KEYS if key in first]
    if not has:
        names = ", ".join(map(str, first))
        raise InvalidInput(
            f"{Path(file).name} has none of the fields {', '.join(TEXT_KEYS)}; it has {names}. Name them with --text"
        )
    return has[0]

"""podium index: load the documents of a file into an index; list indexes, delete documents, drop an index."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import Any

import click

from podium.cli.tables import print_rows
from podium.documents import has_field
from podium.errors import Argument, InvalidInput
from podium.formats import FORMATS, stream_documents
from podium.inputs import comma_list
from podium.load import load
from podium.places import EXAMPLES, IndexOptions, index_target, kind_of, weights
from podium.progress import bar
from podium.ranking import Reranker
from podium.sources.embedded.texts import LANGUAGES
from podium.sources.encodings import kept_model
from podium.sources.loading import Loaded, Target, load_into, with_ids

__all__ = ["index"]


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--to", "place", required=True, metavar="PLACE", help=f"{EXAMPLES}.")
@click.option("--text", metavar="FIELD,FIELD", help="The fields to search, weighted as in title^2,text.  [default: content, …]")
@click.option("--embed", metavar="MODEL", help="An embedder, to also search by vectors: org/model or ./folder.")
@click.option("--id", "id_field", metavar="FIELD", help="The field with each document's id.  [default: a digest of all fields]")
@click.option("--tag", "tags", metavar="FIELD,FIELD", help="On Redis: fields to filter by, as words.")
@click.option("--number", "numbers", metavar="FIELD,FIELD", help="On Redis: fields to filter by, as numbers.")
@click.option("--storage", type=click.Choice(["hash", "json"]), help="On Redis: how documents are stored.  [default: hash]")
@click.option(
    "--prefix", metavar="PREFIX", help="On Redis: the beginning of the documents' keys.  [default: the index's name, :]"
)
@click.option("--vector", metavar="FIELD", help="On Redis: the field of the vectors.  [default: embedding]")
@click.option("--tag-separator", metavar="CHARACTER", help="On Redis: the character between tags.  [default: ,]")
@click.option("--m", type=click.IntRange(min=1), metavar="N", help="On Redis: HNSW's M, neighbours per vector.  [default: 16]")
@click.option("--ef-construction", type=click.IntRange(min=1), metavar="N", help="On Redis: of HNSW.  [default: 200]")
@click.option(
    "--language",
    type=click.Choice([*LANGUAGES, "none"]),
    metavar="NAME",
    help="In a folder: stemmer and stop-words.  [default: english]",
)
@click.option(
    "--keep", metavar="MODEL", help="Also store a late-interaction model's encodings, so that searches with it are fast."
)
@click.option("--format", "format_name", type=click.Choice(list(FORMATS)), help="The format of FILE.  [default: by its name]")
@click.option("--list", "is_list", is_flag=True, help="List the index at PLACE, or all those of a server or folder.")
@click.option("--delete", "deleted", multiple=True, metavar="ID", help="Delete a document; repeat it for more.")
@click.option("--compact", "is_compact", is_flag=True, help="In a folder: free the space of what is not used any more.")
@click.option("--drop", "is_drop", is_flag=True, help="Delete the index and all of its documents.")
def index(
    file: str | None,
    place: str,
    text: str | None,
    id_field: str | None,
    tags: str | None,
    numbers: str | None,
    keep: str | None,
    format_name: str | None,
    is_list: bool,
    deleted: Sequence[str],
    is_compact: bool,
    is_drop: bool,
    **options: Any,
) -> None:
    """Index the documents of a file, or manage an index.

    FILE is .jsonl, .csv, .parquet, .json or .txt, also with .gz. The index is created if it does not exist. After an
    interruption, run the same command again: it continues where it stopped. Running it again on the same file changes nothing.
    """
    if sum((file is not None, is_list, bool(deleted), is_compact, is_drop)) != 1:
        raise InvalidInput("name one FILE to index, or one of --list, --delete, --compact and --drop")
    if keep is not None and file is None:
        raise InvalidInput("name the FILE whose documents are to be encoded with ", Argument("keep", keep))
    if is_list:
        _list(place)
    elif deleted:
        print(f"{kind_of(place).delete(place, deleted)} documents deleted")
    elif is_compact:
        before, after = kind_of(place).compact(place)
        print(f"{before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now")
    elif is_drop:
        _drop(place)
    elif file is not None:
        if (sample := next(stream_documents(file, format_name), None)) is None:
            raise InvalidInput(f"{file} has no documents")
        own_options = {"tags": comma_list(tags) or None, "numbers": comma_list(numbers) or None, **options}
        index_options = IndexOptions(sample=sample, text=weights(text), ids_from=id_field or "", **own_options)
        with contextlib.nullcontext() if keep is None else load(keep) as reranker:
            if reranker is not None:
                kept_model(reranker)  # raises if it has no encodings
            _load(file, format_name, place, index_options, reranker)


def _list(place: str) -> None:
    if summaries := kind_of(place).summaries(place):
        print_rows(("index", "documents", "fields"), summaries)
    else:
        click.echo(f"there is no index in {place}; create one with podium index FILE --to PLACE", err=True)


def _drop(place: str) -> None:
    count = kind_of(place).drop(place)
    name = place.rstrip("/").rpartition("/")[2]
    print(f"{name} dropped" if count is None else f"{name} dropped, with {count} documents")


def _load(file: str, format_name: str | None, place: str, options: IndexOptions, keep: Reranker | None) -> None:
    began = time.perf_counter()
    ids_from = options.ids_from or None
    with contextlib.closing(index_target(place, options)) as target:
        count = _check_documents(target, with_ids(stream_documents(file, format_name), ids_from), _named_fields(options), file)
        with bar(100, True, what="waiting for the server to scan its keys") as progress:
            target.prepare(count, progress)
        with bar(count, True, what="indexing") as progress:
            loaded = load_into(target, with_ids(stream_documents(file, format_name), ids_from), progress, keep)
        target.finish()
    unchanged = f", {loaded.skipped} were in the index already" if loaded.skipped else ""
    encoded = "" if keep is None else f", {loaded.encoded} texts encoded by {keep.model}"
    print(f"{loaded.added} documents indexed{unchanged}{encoded}; {time.perf_counter() - began:.1f} s")
    encoding_notes = _encoding_notes(target, loaded) if keep is None else []
    for note in (*_truncation_notes(target), *encoding_notes, *target.notes):
        click.echo(f"note: {note}", err=True)


def _named_fields(options: IndexOptions) -> set[str]:
    return {*(options.text or ()), *(options.tags or ()), *(options.numbers or ())}


def _check_documents(target: Target, documents: Iterable[tuple[str, Any]], named_fields: set[str], file: str) -> int:
    """Return the number of documents. Raises InvalidInput if one cannot be added, or if no document has a named field."""
    count = 0
    unseen = set(named_fields)
    for number, (document_id, document) in enumerate(documents):
        target.check(document, document_id, number)
        unseen = {name for name in unseen if not has_field(document, name)} if isinstance(document, dict) else set()
        count = number + 1
    if unseen:
        raise InvalidInput(f"no document of {file} has the field {', '.join(sorted(unseen))}; check the names")
    return count


def _truncation_notes(target: Target) -> list[str]:
    truncated = getattr(target.embed, "truncated", 0)  # podium's Embedder counts them, other embedders do not
    return (
        [f"{truncated} of them are longer than the embedder reads; their vectors cover the beginning only"] if truncated else []
    )


def _encoding_notes(target: Target, loaded: Loaded) -> list[str]:
    """Return a note if documents were added without the encodings that others have."""
    models = ", ".join(target.kept_models)
    if not models or not loaded.added:
        return []
    return [f"this index has encodings of {models}, and the added documents have none; store them with --keep {models}"]

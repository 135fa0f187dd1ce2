"""podium index: load the documents of a file into an index; list indexes, delete documents, drop an index."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from podium.cli.tables import print_rows
from podium.documents import TEXT_KEYS, has_field
from podium.errors import Argument, InvalidInput
from podium.formats import FORMATS, stream_documents
from podium.inputs import comma_list
from podium.load import load
from podium.places import EXAMPLES, IndexOptions, index_target, kind_of, weights
from podium.progress import bar
from podium.ranking import Reranker
from podium.regular_files import is_pipe_or_device
from podium.sources.embedded.texts import LANGUAGES
from podium.sources.encodings import kept_model
from podium.sources.loading import Loaded, Target, load_into, with_ids

__all__ = ["index"]


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--to", "place", required=True, metavar="PLACE", help=f"Place of the index: {EXAMPLES}.")
@click.option(
    "--text",
    "text_fields",
    metavar="FIELD,FIELD",
    help=f"Fields to search, weighted as in title^2,text.  [default: the first of {', '.join(TEXT_KEYS)} that documents have]",
)
@click.option("--embed", metavar="MODEL", help="Embedder for searches by vectors: org/model or ./folder.")
@click.option("--id", "id_field", metavar="FIELD", help="Field with the document's id.  [default: a digest of all fields]")
@click.option("--tag", "tag_fields", metavar="FIELD,FIELD", help="On Redis: fields with words to filter by.")
@click.option("--number", "number_fields", metavar="FIELD,FIELD", help="On Redis: fields with numbers to filter by.")
@click.option("--storage", type=click.Choice(["hash", "json"]), help="On Redis: how documents are stored.  [default: hash]")
@click.option(
    "--prefix",
    metavar="PREFIX",
    help="On Redis: beginning of the keys of documents.  [default: the name of the index and a colon]",
)
@click.option("--vector", metavar="FIELD", help="On Redis: field for the vectors.  [default: embedding]")
@click.option("--tag-separator", metavar="CHARACTER", help="On Redis: character between tags.  [default: a comma]")
@click.option(
    "--m",
    type=click.IntRange(min=1),
    metavar="N",
    help="On Redis: HNSW's M, the number of neighbours per vector.  [default: 16]",
)
@click.option(
    "--ef-construction",
    type=click.IntRange(min=1),
    metavar="N",
    help="On Redis: HNSW's EF_CONSTRUCTION, the number of neighbours considered while indexing.  [default: 200]",
)
@click.option(
    "--language",
    type=click.Choice([*LANGUAGES, "none"]),
    metavar="NAME",
    help="In a folder: language of the stemmer and the stop-words, or none.  [default: english]",
)
@click.option(
    "--keep", metavar="MODEL", help="Late-interaction model whose encodings are stored, so that it reranks searches faster."
)
@click.option("--format", "format_name", type=click.Choice(list(FORMATS)), help="Format of FILE.  [default: by its name]")
@click.option("--list", "list_indexes", is_flag=True, help="List the index at PLACE, or all indexes of a server or folder.")
@click.option("--delete", "ids_to_delete", multiple=True, metavar="ID", help="Delete a document by its id. Can be repeated.")
@click.option("--compact", is_flag=True, help="In a folder: free space that is no longer used.")
@click.option("--drop", is_flag=True, help="Delete the index and all of its documents.")
def index(
    file: str | None,
    place: str,
    text_fields: str | None,
    id_field: str | None,
    tag_fields: str | None,
    number_fields: str | None,
    keep: str | None,
    format_name: str | None,
    list_indexes: bool,
    ids_to_delete: Sequence[str],
    compact: bool,
    drop: bool,
    **other_options: Any,
) -> None:
    """Index the documents of a file, or manage an index.

    FILE is .jsonl, .csv, .parquet, .json or .txt, also with .gz. The index is created if it does not exist. After an
    interruption, run the same command again: it continues where it stopped. After it has finished, running it again changes
    nothing.
    """
    if sum((file is not None, list_indexes, bool(ids_to_delete), compact, drop)) != 1:
        raise InvalidInput("name one FILE to index, or one of --list, --delete, --compact and --drop")
    if file is not None:
        _check_regular(file)
        options = IndexOptions(
            sample=_first_document(file, format_name),
            text=weights(text_fields),
            ids_from=id_field or "",  # "" for digests
            tags=comma_list(tag_fields) or None,
            numbers=comma_list(number_fields) or None,
            **other_options,
        )
        with contextlib.ExitStack() as stack:
            encoder = None
            if keep is not None:
                encoder = stack.enter_context(load(keep))
                kept_model(encoder)  # raises InvalidInput if the model has no encodings, before anything is indexed
            _index_file(file, format_name, place, options, encoder)
        return
    if keep is not None:
        raise InvalidInput("name the FILE whose documents are to be encoded with ", Argument("keep", keep))
    if list_indexes:
        _print_indexes(place)
    elif ids_to_delete:
        print(f"{kind_of(place).delete(place, ids_to_delete)} documents deleted")
    elif compact:
        bytes_before, bytes_after = kind_of(place).compact(place)
        print(f"{bytes_before / 1e6:.1f} MB before, {bytes_after / 1e6:.1f} MB now")
    else:
        _drop_index(place)


def _check_regular(file: str) -> None:
    """Raise InvalidInput for a pipe or a device. It can be read once only, and podium index reads a file several times."""
    if is_pipe_or_device(Path(file)):
        raise InvalidInput(
            f"{file} is not a regular file, and podium index reads it more than once; save the documents to a file"
        )


def _first_document(file: str, format_name: str | None) -> Any:
    """Return the first document of a file. Raises InvalidInput if the file has no documents."""
    for document in stream_documents(file, format_name):
        return document
    raise InvalidInput(f"{file} has no documents")


def _print_indexes(place: str) -> None:
    if summaries := kind_of(place).summaries(place):
        print_rows(("index", "documents", "fields"), summaries)
    else:
        click.echo(f"there is no index in {place}; create one with podium index FILE --to PLACE", err=True)


def _drop_index(place: str) -> None:
    count = kind_of(place).drop(place)
    name = place.rstrip("/").rpartition("/")[2]
    print(f"{name} dropped" if count is None else f"{name} dropped, with {count} documents")


def _index_file(file: str, format_name: str | None, place: str, options: IndexOptions, encoder: Reranker | None) -> None:
    """Index the documents of a file, and store the encodings of `encoder`. Print how many documents were indexed, and notes.

    All documents are checked before the first document is written, so the file is read twice.
    """
    start = time.perf_counter()

    def documents_with_ids() -> Iterator[tuple[str, Any]]:
        return with_ids(stream_documents(file, format_name), options.ids_from or None)  # None for digests

    with contextlib.closing(index_target(place, options)) as target:
        count = _check_documents(target, documents_with_ids(), _named_fields(options), file)
        with bar(total=100, is_shown=True, label="keys scanned by the server, in percent") as progress:
            target.prepare(count, progress)
        with bar(count, is_shown=True, label="indexing") as progress:
            loaded = load_into(target, documents_with_ids(), progress, encoder)
        target.finish()
    unchanged = f", {loaded.skipped} were in the index already" if loaded.skipped else ""
    encoded = "" if encoder is None else f", {loaded.encoded} texts encoded by {encoder.model}"
    print(f"{loaded.added} documents indexed{unchanged}{encoded}; {time.perf_counter() - start:.1f} s")
    encoding_notes = _encoding_notes(target, loaded) if encoder is None else []
    for note in (*_truncation_notes(target), *encoding_notes, *target.notes):
        click.echo(f"note: {note}", err=True)


def _named_fields(options: IndexOptions) -> set[str]:
    return {*(options.text or ()), *(options.tags or ()), *(options.numbers or ())}


def _check_documents(target: Target, documents: Iterable[tuple[str, Any]], named_fields: set[str], file: str) -> int:
    """Return the number of documents. Raises InvalidInput if a document cannot be added, or if no document has a named field.

    The fields are not checked if a document is not a dict, because a string has no fields and is indexed as the text.
    """
    count = 0
    missing_fields = set(named_fields)  # the fields that no document so far has
    for document_id, document in documents:
        target.check(document, document_id, count)
        count += 1
        if not isinstance(document, dict):
            missing_fields.clear()
        elif missing_fields:
            missing_fields = {name for name in missing_fields if not has_field(document, name)}
    if missing_fields:
        raise InvalidInput(f"no document of {file} has the field {' or '.join(sorted(missing_fields))}; check the names")
    return count


def _truncation_notes(target: Target) -> list[str]:
    """Return a note if the embedder has truncated texts."""
    count = getattr(target.embed, "truncated", 0)  # only podium's Embedder has this attribute
    return [f"{count} documents are longer than the embedder reads; their vectors cover only the beginning"] if count else []


def _encoding_notes(target: Target, loaded: Loaded) -> list[str]:
    """Return a note if documents were added without encodings, and the index has a model's encodings of other documents."""
    if not target.kept_models or not loaded.added:
        return []
    models = ", ".join(target.kept_models)
    remedy = ", then with ".join(f"--keep {model}" for model in target.kept_models)
    return [f"this index has encodings of {models}, and the added documents have none; run the command again with {remedy}"]

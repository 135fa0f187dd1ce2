"""Description: how an index was created, as its file podium-index.json describes it, and whether an embedder fits the index."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from podium.atomic import atomic_write
from podium.embedding import embedder_name, is_same_embedder, probe_vector
from podium.errors import Argument, SourceError
from podium.json_values import load_json
from podium.sources.embedded.tantivy_calls import unusable
from podium.sources.fields import checked_weights
from podium.types import Embed

__all__ = ["DESCRIPTION_FILE", "Description", "IndexIdentity", "check_embedder", "is_index", "read", "write"]

DESCRIPTION_FILE = "podium-index.json"
LAYOUT = 2
"""Layout 1 has neither segmented text nor terms to filter by. Earlier versions of podium refuse layout 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """How an index was created.

    - `fields`: the fields that are searched, with weights; None for each document's own text.
    - `language`: the language of stemmer and stop-words, None if the index has neither.
    - `embedder`: the name of the embedder's model, None if unknown.
    - `probe`: the embedder's vector of one sentence, () without an embedder. It is compared to recognize another embedder,
      even if that has the same name.
    - `ids_from`: the field that ids are taken from, "" if they are digests of the documents, None if unknown.
    - `id`: a random id. None in indexes of earlier versions.
    - `layout`: the version of the files' layout. An index that has an earlier layout keeps it.
    """

    fields: dict[str, float] | None
    language: str | None
    embedder: str | None = None
    probe: tuple[float, ...] = ()
    layout: int = LAYOUT
    ids_from: str | None = None
    id: str | None = None

    @property
    def is_segmented(self) -> bool:
        """Whether text in scripts without spaces is indexed as pairs of characters."""
        return self.layout >= 2

    @property
    def is_filterable(self) -> bool:
        """Whether the index has terms to filter by."""
        return self.layout >= 2

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class IndexIdentity:
    """Notices when the index in a folder is dropped, or replaced by another one, while it is open."""

    def __init__(self, folder: Path | None, description: Description) -> None:
        self._folder = folder
        self._description = description.to_json()
        self._stat: tuple[int, int, int] | None = None  # identifies the file that was last compared

    def check(self) -> None:
        """Raise SourceError if the folder no longer has this index. Does nothing for an index in memory."""
        if self._folder is None:
            return
        try:
            stat = os.stat(self._folder / DESCRIPTION_FILE)
        except OSError as error:
            raise SourceError(
                f"the index in {self._folder} was dropped after it was opened; create and open it again"
            ) from error
        current_stat = (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
        if current_stat != self._stat:
            if read(self._folder).to_json() != self._description:
                raise SourceError(f"the index in {self._folder} was replaced by another one after it was opened; open it again")
            self._stat = current_stat


def is_index(path: str | os.PathLike[str]) -> bool:
    """Whether a folder has an index of podium."""
    return (Path(path) / DESCRIPTION_FILE).exists()


def check_embedder(folder: Path, description: Description, embed: Embed | None) -> None:
    """Raise SourceError if the index was created with another embedder or without one. Does nothing if `embed` is None."""
    if embed is None:
        return
    if not description.probe:
        raise SourceError(
            f"{folder} was created without an embedder; leave out ",
            Argument("embed"),
            ", or index the documents again with it",
        )
    probe = probe_vector(embed)
    if not is_same_embedder(probe, description.probe):
        raise SourceError(
            f"{folder} was created with another embedder ({description.embedder or 'a callable'}, {len(description.probe)} "
            f"dimensions) than {embedder_name(embed) or 'this one'} ({len(probe)} dimensions); open it with that one, or index "
            "the documents again"
        )


def write(folder: Path, description: Description) -> None:
    """Write the description, which makes the folder an index. So it is the last file of a new index to be written."""
    with atomic_write(folder / DESCRIPTION_FILE) as file:
        file.write(description.to_json().encode())


def read(folder: Path) -> Description:
    """Return the description of the index in a folder. Raises SourceError if there is none or it is damaged."""
    if not folder.is_dir():
        raise SourceError(f"there is no folder {str(folder)[:200]}; create an index with EmbeddedIndex.create or podium index")
    if not is_index(folder):
        raise SourceError(f"{folder} is not an index of podium: it has no {DESCRIPTION_FILE}; name another folder")
    try:
        values = load_json(folder / DESCRIPTION_FILE)
        if values["language"] is not None and not isinstance(values["language"], str):
            raise ValueError("its language is not a string")
        values["probe"] = tuple(map(float, values["probe"]))
        values["fields"] = checked_weights(values["fields"])
        description = Description(**{field.name: values[field.name] for field in fields(Description) if field.name in values})
    except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise unusable(folder, error) from error
    if description.layout not in range(1, LAYOUT + 1):
        raise SourceError(
            f"{folder} has layout {description.layout!r:.20}, this version of podium reads 1 to {LAYOUT}; install the version "
            "that created it, or index the documents again"
        )
    return description

"""The texts of a test collection, which the rows of a TREC run name by their ids."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from podium.batch.files import InputFile, input_files
from podium.errors import Argument, InvalidInput
from podium.evaluation.collections import CORPUS_FILES, QUERIES_FILES, first_existing, read_corpus, read_queries

__all__ = ["Collection", "collection_files", "load_collection"]


@dataclass(frozen=True, slots=True)
class Collection:
    """The texts of queries and documents by id. They are all in memory."""

    queries: Mapping[str, str]
    documents: Mapping[str, str]


def collection_files(folder: str | os.PathLike[str]) -> tuple[InputFile, InputFile]:
    """Return the files of queries and of documents of a folder in BEIR's layout. Raises InvalidInput if it has none."""
    path = Path(folder)
    if not path.is_dir():
        raise InvalidInput(Argument("collection"), f": there is no folder {path}; name a folder in BEIR's layout")
    queries, documents = input_files([first_existing(path, names) for names in (QUERIES_FILES, CORPUS_FILES)])
    return queries, documents


@functools.lru_cache(maxsize=1)  # all parts of a job have the same collection
def load_collection(files: tuple[InputFile, InputFile]) -> Collection:
    """Return the texts in the files of queries and of documents. Raises InvalidInput."""
    queries, documents = files
    return Collection(read_queries(queries.path), read_corpus(Path(documents.path)))

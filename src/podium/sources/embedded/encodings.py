"""IndexEncodings: the encodings of an index's documents, in its folder's subfolder `encodings`, or in memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from podium.atomic import atomic_write
from podium.encodings import EncodingStore
from podium.encodings.folder import FolderEncodings
from podium.encodings.memory import MemoryEncodings
from podium.errors import SourceError
from podium.json_values import load_json
from podium.ranking import Reranker
from podium.sources.encodings import (
    KeptModel,
    encode_documents,
    encoding_keys,
    kept_model,
    models_from_json,
    models_to_json,
)

__all__ = ["ENCODINGS_FOLDER", "IndexEncodings"]

ENCODINGS_FOLDER = "encodings"
MODELS_FILE = "models.json"
# How long to wait for another process that writes: longer than a search waits, because a failed write is an error here.
PUT_SECONDS = 10.0


class IndexEncodings:
    """The encodings of an index in `folder`, or in memory if `folder` is None, and the models that computed them.

    Methods take documents as a search returns them. `searched` are the names of the fields that the index searches, None for
    each document's own text.
    """

    def __init__(self, folder: Path | None, searched: Sequence[str] | None) -> None:
        self._folder = None if folder is None else folder / ENCODINGS_FOLDER
        self._searched = searched
        self._models_in_memory: tuple[KeptModel, ...] = ()
        self.store: EncodingStore = (
            MemoryEncodings(sys.maxsize) if self._folder is None else FolderEncodings(self._folder, put_seconds=PUT_SECONDS)
        )

    def add(self, documents: Sequence[Any], reranker: Reranker) -> int:
        """Store the encodings of documents, and return how many were computed. Raises InvalidInput or SourceError."""
        model = kept_model(reranker)
        models = self.models()
        if model not in models:
            self._write_models(model.added_to(models))
        return encode_documents(documents, self._searched, reranker, self.store, str(self._folder or "memory"))

    def models(self) -> tuple[KeptModel, ...]:
        """Return the models whose encodings are stored, () if the file that lists the models is missing or damaged."""
        if self._folder is None:
            return self._models_in_memory
        try:
            return models_from_json(load_json(self._folder / MODELS_FILE))
        except (OSError, ValueError, TypeError, KeyError):
            return ()

    def compact(self, documents: Iterable[Sequence[Any]]) -> None:
        """Remove the encodings that belong to none of the documents. `documents` yields batches. Raises SourceError.

        In memory, and if the models are unknown, nothing is removed.
        """
        models = self.models()
        if not models or not isinstance(self.store, FolderEncodings):
            return
        used_keys: set[bytes] = set()
        for batch in documents:
            used_keys |= encoding_keys(models, batch, self._searched)
        self.store.compact(used_keys)

    def _write_models(self, models: tuple[KeptModel, ...]) -> None:
        self._models_in_memory = models
        if self._folder is None:
            return
        try:
            self._folder.mkdir(exist_ok=True)
            with atomic_write(self._folder / MODELS_FILE) as file:
                file.write(json.dumps(models_to_json(models)).encode())
        except OSError as error:
            raise SourceError(f"{self._folder} cannot be written: {error.strerror or error}") from error

"""The texts that a search scores of an index's documents, which are encoded while the documents are indexed.

`Search` reads the fields of its reranker, else those that the index searches. A text that is scored but was not encoded here
is only computed again, so a wrong guess costs time and never changes a score.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from podium.documents import has_field, texts_of
from podium.encodings import EncodingStore, KeyMaker, TextEncoder
from podium.errors import Argument, InvalidInput, SourceError
from podium.inputs import checked_fields
from podium.ranking import Reranker
from podium.scorers import as_scorer

__all__ = ["KeptModel", "encode_documents", "encoding_keys", "kept_model", "models_from_json", "models_to_json"]


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A model whose encodings an index keeps, recorded to find the encodings of a document without loading the model.

    `identity` is what KeyMaker gets, and `rank_by` the fields that the reranker reads, None for those that are searched.
    """

    model: str
    identity: str
    rank_by: tuple[str, ...] | None

    def added_to(self, models: Sequence[KeptModel]) -> tuple[KeptModel, ...]:
        """Return the models of an index with this one, in place of an earlier version or precision of it."""
        return (*(other for other in models if other.model != self.model), self)


def kept_model(reranker: Reranker) -> KeptModel:
    """Return the record of a reranker's model. Raises InvalidInput if its texts have no encodings."""
    identity = _encoder(reranker).encoding_identity
    return KeptModel(reranker.model, identity, checked_fields(reranker.rank_by))


def models_to_json(models: Sequence[KeptModel]) -> list[dict[str, Any]]:
    return [asdict(model) for model in models]


def models_from_json(values: Any) -> tuple[KeptModel, ...]:
    """Return the records of models. Raises ValueError, TypeError or KeyError if they are something else."""
    return tuple(KeptModel(str(value["model"]), str(value["identity"]), _names(value["rank_by"])) for value in values)


def encode_documents(
    documents: Sequence[Any], searched: Sequence[str] | None, reranker: Reranker, store: EncodingStore, location: str
) -> int:
    """Put the documents' encodings into a store that lacks them, and return how many were computed.

    `documents` are as the source returns them, and `searched` its text fields. Raises SourceError if they could not be written.
    """
    encoder = _encoder(reranker)
    texts = _texts_to_encode(documents, searched, kept_model(reranker).rank_by)
    keys = [encoder.encoding_key(text) for text in texts]
    stored = store.get(keys)
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in stored}
    computed = encoder.with_store(store).encode(list(missing.values()))
    if not_written := len(missing) - len(store.get(list(missing))):
        raise SourceError(
            f"{not_written} of {len(missing)} encodings could not be written to {location}; solve the problem that the "
            "log names, such as a full disk, then run this again: what is written stays"
        )
    return computed


def encoding_keys(models: Iterable[KeptModel], documents: Sequence[Any], searched: Sequence[str] | None) -> set[bytes]:
    """Return the keys of all encodings that documents may have."""
    keys: set[bytes] = set()
    for model in models:
        texts = (text for document in documents for text in _possible_texts(document, searched, model.rank_by))
        keys.update(KeyMaker(model.identity).keys(texts))
    return keys


def _encoder(reranker: Reranker) -> TextEncoder:
    if not isinstance(reranker, Reranker):
        raise InvalidInput(Argument("keep"), f" takes a Reranker, as podium.load returns, not a {type(reranker).__name__}")
    encoder = as_scorer(reranker.scorer).encoder
    if encoder is None:
        raise InvalidInput(
            Argument("keep"),
            f" needs a model with late interaction, such as podium-mini or a ColBERT model; {reranker.model} reads each query "
            "together with each document, so nothing of it can be stored",
        )
    return encoder


def _names(value: Any) -> tuple[str, ...] | None:
    return None if value is None else tuple(map(str, value))


def _texts_to_encode(documents: Sequence[Any], searched: Sequence[str] | None, rank_by: Sequence[str] | None) -> list[str]:
    """Return the texts of documents that are added together, each once."""
    in_documents = [name for name in searched or () if any(has_field(document, name) for document in documents)]
    # A search that finds documents with other fields reads one with a single field as it does them.
    count = 1 if len(in_documents) > 1 else 2
    texts = (text for document in documents for text in _possible_texts(document, searched, rank_by)[:count])
    return list(dict.fromkeys(texts))


def _possible_texts(document: Any, searched: Sequence[str] | None, rank_by: Sequence[str] | None) -> list[str]:
    """Return the texts as which a search may score a document, the likeliest first: one or two, or none if it is blank.

    Search leaves out fields that none of its candidates has. So a document with one of several fields is read like the
    others, as YAML, or as that field alone if no other candidate has another field.
    """
    if rank_by is not None or searched is None:
        return list(_texts(document, rank_by))
    present = [name for name in searched if has_field(document, name)]
    texts = list(_texts(document, searched)) if present else []
    return [*texts, *_texts(document, present)] if len(present) == 1 < len(searched) else texts


def _texts(document: Any, fields: Sequence[str] | None) -> Iterator[str]:
    """Yield the document's text if it has one. A document that cannot be read is an error of the search."""
    all_fields = [] if fields is None else [dict.fromkeys(fields, "")]  # texts_of refuses fields that no document has
    with contextlib.suppress(InvalidInput):
        text = texts_of([document, *all_fields], None if fields is None else tuple(fields))[0]
        if text is not None:
            yield text

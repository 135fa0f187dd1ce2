"""Encode documents while they are indexed: predict which texts a search will score, and store the encodings of these texts.

`Search` scores the fields that its reranker reads, or the fields that the index searches. If it scores another text, it
computes that encoding itself, so a wrong prediction costs time but never changes a score.
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
    """A model whose encodings an index has. With this record the keys of encodings are computed without loading the model.

    `identity` is the argument of KeyMaker. `rank_by` are the fields that the reranker reads, None for the searched fields.
    """

    model: str
    identity: str
    rank_by: tuple[str, ...] | None

    def added_to(self, models: Sequence[KeptModel]) -> tuple[KeptModel, ...]:
        """Return the models with this one added. It replaces a model of the same name, which has another identity or fields."""
        return (*(other for other in models if other.model != self.model), self)


def kept_model(reranker: Reranker) -> KeptModel:
    """Return the record of a reranker's model. Raises InvalidInput if its texts have no encodings."""
    identity = _encoder(reranker).encoding_identity
    return KeptModel(reranker.model, identity, checked_fields(reranker.rank_by))


def models_to_json(models: Sequence[KeptModel]) -> list[dict[str, Any]]:
    return [asdict(model) for model in models]


def models_from_json(values: Any) -> tuple[KeptModel, ...]:
    """Return the models that `models_to_json` wrote. Raises ValueError, TypeError or KeyError for other values."""
    return tuple(KeptModel(str(value["model"]), str(value["identity"]), _names(value["rank_by"])) for value in values)


def encode_documents(
    documents: Sequence[Any], searched_fields: Sequence[str] | None, reranker: Reranker, store: EncodingStore, location: str
) -> int:
    """Compute the encodings of documents that `store` does not have, store them, and return how many were computed.

    `documents` are as a search returns them. `searched_fields` are the fields that the source searches, None for each
    document's own text. `location` names the store in messages. Raises InvalidInput if the reranker has no encodings, and
    SourceError if encodings could not be written.
    """
    encoder = _encoder(reranker)
    texts = _texts_to_encode(documents, searched_fields, kept_model(reranker).rank_by)
    keys = [encoder.encoding_key(text) for text in texts]
    stored = store.get(keys)
    missing_texts = {key: text for key, text in zip(keys, texts, strict=True) if key not in stored}
    computed_count = encoder.with_store(store).encode(list(missing_texts.values()))
    if unwritten_count := len(missing_texts) - len(store.get(list(missing_texts))):
        raise SourceError(
            f"{unwritten_count} of {len(missing_texts)} encodings could not be written to {location}; solve the problem "
            "that the log names, such as a full disk, then run this again: encodings that were written stay"
        )
    return computed_count


def encoding_keys(models: Iterable[KeptModel], documents: Sequence[Any], searched_fields: Sequence[str] | None) -> set[bytes]:
    """Return the keys of all encodings of these models that documents may have."""
    keys: set[bytes] = set()
    for model in models:
        texts = (text for document in documents for text in _possible_texts(document, searched_fields, model.rank_by))
        keys.update(KeyMaker(model.identity).keys(texts))
    return keys


def _encoder(reranker: Reranker) -> TextEncoder:
    """Return the encoder of a reranker's model. Raises InvalidInput if it has none, or if `reranker` is not a Reranker."""
    if not isinstance(reranker, Reranker):
        raise InvalidInput(Argument("keep"), f" takes a Reranker, as podium.load returns, not a {type(reranker).__name__}")
    encoder = as_scorer(reranker.scorer).encoder
    if encoder is None:
        raise InvalidInput(
            Argument("keep"),
            f" needs a model with late interaction, such as podium-mini or a ColBERT model; {reranker.model} reads each query "
            "together with each document, so there are no encodings of documents to store",
        )
    return encoder


def _names(value: Any) -> tuple[str, ...] | None:
    return None if value is None else tuple(map(str, value))


def _texts_to_encode(
    documents: Sequence[Any], searched_fields: Sequence[str] | None, rank_by: Sequence[str] | None
) -> list[str]:
    """Return the different texts that a search probably scores of documents that are added together."""
    present_fields = [name for name in searched_fields or () if any(has_field(document, name) for document in documents)]
    # If these documents have several fields, a search probably finds several fields, too, and reads all documents as YAML.
    max_text_count = 1 if len(present_fields) > 1 else 2  # for each document
    texts: dict[str, None] = {}  # a dict, because its keys keep their order and are distinct
    for document in documents:
        texts.update(dict.fromkeys(_possible_texts(document, searched_fields, rank_by)[:max_text_count]))
    return list(texts)


def _possible_texts(document: Any, searched_fields: Sequence[str] | None, rank_by: Sequence[str] | None) -> list[str]:
    """Return the texts that a search may score for a document, the likeliest first: one or two, or none if it is blank.

    `Search` leaves out fields that no candidate has. So a document with only one of the searched fields has two possible texts:
    YAML, if another candidate has another of these fields, or else the value of its field.
    """
    if rank_by is not None or searched_fields is None:
        return list(_texts(document, rank_by))
    present_fields = [name for name in searched_fields if has_field(document, name)]
    if not present_fields:
        return []
    texts = list(_texts(document, searched_fields))
    if len(present_fields) == 1 and len(searched_fields) > 1:
        texts += _texts(document, present_fields)
    return texts


def _texts(document: Any, fields: Sequence[str] | None) -> Iterator[str]:
    """Yield the text of a document, unless it is blank. A document that cannot be read has none: the search reports it."""
    documents = [document]
    if fields is not None:
        documents.append(dict.fromkeys(fields, ""))  # texts_of refuses fields that no document has
    with contextlib.suppress(InvalidInput):
        text = texts_of(documents, None if fields is None else tuple(fields))[0]
        if text is not None:
            yield text

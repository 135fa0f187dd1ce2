"""The comparison of a query's encoding with those of texts, by the native core or, without it, by numpy.

Products of int8 rows are exact integers, and everything after them is float32 in one order, so what is computed of a text
depends neither on the other texts nor on the instruction set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from podium.encodings import Buffer
from podium.local.files.checkpoint import Array
from podium.local.late.encoding import Encoding, unpack
from podium.local.runtimes import native_core

__all__ = ["Comparison", "LateFeatures", "Lexical", "MaxSim"]

RUN = 3  # word pieces in a row


class Comparison(Protocol):
    """Compares the packed encoding of a query with packed encodings of texts. Safe to share between threads."""

    features: int

    def compare(self, query: Buffer, documents: Sequence[Buffer]) -> Array:
        """Return float32 of shape (documents, features). Raises ValueError if an encoding is damaged or of another shape."""
        ...


class MaxSim:
    """The sum, over a query's vectors, of the highest product with a vector of the text (Khattab & Zaharia 2020).

    `native`: use the native core if it is installed.
    """

    features = 1

    def __init__(self, *, native: bool = True) -> None:
        self._core = native_core() if native else None

    def compare(self, query: Buffer, documents: Sequence[Buffer]) -> Array:
        result = np.empty((len(documents), 1), np.float32)
        if self._core:
            self._core.max_sim(query=query, documents=documents, result=result)
            return result
        query_encoding = unpack(query)
        for index, document in enumerate(documents):
            highest = _highest_products(query_encoding, _fitting(query_encoding, unpack(document)))
            result[index, 0] = _sum(highest)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexical:
    """The tables and settings of `LateFeatures`: a number per token of the vocabulary, and BM25's constants."""

    idf: Array
    piece_idf: Array
    stem: Array
    k1: float
    b: float
    average_tokens: float


class LateFeatures:
    """Four comparisons of podium-mini:

    - the cosine of the means
    - the mean of the query's highest products, weighted by the importance of its tokens
    - the words that both have, as in BM25, relative to the sum of the query's inverse document frequencies
    - runs of three word pieces that both have, relative to three times that sum

    `native` is that of MaxSim.
    """

    features = 4

    def __init__(self, lexical: Lexical, *, native: bool = True) -> None:
        self._lexical = lexical
        self._core = native_core() if native else None

    def compare(self, query: Buffer, documents: Sequence[Buffer]) -> Array:
        result = np.empty((len(documents), 4), np.float32)
        lexical = self._lexical
        if self._core:
            self._core.late_features(
                query=query,
                documents=documents,
                result=result,
                token_idf=lexical.idf,
                token_piece_idf=lexical.piece_idf,
                token_stem=lexical.stem,
                k1=lexical.k1,
                b=lexical.b,
                average_tokens=lexical.average_tokens,
            )
            return result
        query_encoding = unpack(query)
        for index, document in enumerate(documents):
            result[index] = self._features(query_encoding, _fitting(query_encoding, unpack(document)))
        return result

    def _features(self, query: Encoding, document: Encoding) -> tuple[float, float, float, float]:
        query_ids, ids = _checked_ids(query, self._lexical), _checked_ids(document, self._lexical)
        if query.weights is None:
            raise ValueError("the encoding of a query has no weights")
        best_matches = float(_sum(query.weights * _highest_products(query, document)))
        return _cosine_of_means(query, document), best_matches, *self._lexical_matches(query_ids, ids)

    def _lexical_matches(self, query_ids: Array, ids: Array) -> tuple[float, float]:
        lexical = self._lexical
        same = lexical.stem[query_ids][:, None] == lexical.stem[ids]
        counts = same.sum(axis=1).astype(np.float32)
        k1, b = np.float32(lexical.k1), np.float32(lexical.b)
        saturation = np.float32(len(ids)) * (k1 * b / np.float32(lexical.average_tokens)) + k1 * (np.float32(1) - b)
        idf = lexical.idf[query_ids]
        total_idf = np.float32(1e-6) + _sum(idf)
        words = _sum(idf * (counts * (k1 + 1)) / (counts + saturation))
        padded = np.pad(same, (0, RUN - 1))
        shifted = [padded[shift : shift + len(query_ids), shift : shift + len(ids)] for shift in range(RUN)]
        has_run = np.logical_and.reduce(shifted).any(axis=1)
        piece_idf = np.pad(lexical.piece_idf[query_ids], (0, RUN - 1))
        run_idf = piece_idf[:-2] + piece_idf[1:-1] + piece_idf[2:]
        return words / total_idf, _sum(run_idf[has_run]) / (total_idf * RUN)


def _fitting(query: Encoding, document: Encoding) -> Encoding:
    """Return the document's encoding. Raises ValueError if it cannot be compared with the query's."""
    sizes = [(rows.precision, rows.rows.shape[1], 0 if rows.mean is None else len(rows.mean)) for rows in (query, document)]
    if sizes[0] != sizes[1]:
        raise ValueError("the encodings of a query and a text differ in precision or dimensions")
    return document


def _highest_products(query: Encoding, document: Encoding) -> Array:
    """Return each query vector's highest product with a vector of the text, 0 if that has none: shape (query vectors,)."""
    if not len(document.rows):
        return np.zeros(len(query.rows), np.float32)
    if query.scales is None or document.scales is None:
        highest: Array = (query.vectors @ document.vectors.T).max(axis=1)
        return highest
    products = (query.rows.astype(np.float64) @ document.rows.astype(np.float64).T).astype(np.float32)  # exact integers
    scaled: Array = (products * document.scales).max(axis=1) * query.scales
    return scaled


def _cosine_of_means(query: Encoding, document: Encoding) -> float:
    if query.mean is None or document.mean is None:
        raise ValueError("an encoding has no mean")
    product = np.float32(query.mean.astype(np.float64) @ document.mean.astype(np.float64))
    return float(product * np.float32(query.mean_scale) * np.float32(document.mean_scale))


def _checked_ids(encoding: Encoding, lexical: Lexical) -> Array:
    if encoding.ids is None or encoding.ids.min() < 0 or encoding.ids.max() >= len(lexical.idf):
        raise ValueError("an encoding has no token ids, or ids outside the vocabulary")
    return encoding.ids


def _sum(numbers: Array) -> np.float32:
    """Return the float32 sum in the order of the numbers, 0 if there are none."""
    total: np.float32 = np.add.accumulate(numbers.astype(np.float32))[-1] if len(numbers) else np.float32(0)
    return total

"""The comparison of a query's encoding with those of texts, by the native core or, without it, by numpy.

Products of int8 rows are exact integers, and every later operation is in float32 and in a fixed order. So a text's features
depend neither on the other texts nor on the processor's instruction set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from podium.encodings import Buffer
from podium.local.files.checkpoint import Array
from podium.local.late.encoding import Encoding, EncodingPrecision, unpack
from podium.local.runtimes import native_core

__all__ = ["Comparison", "LateFeatures", "Lexical", "MaxSim"]

RUN_LENGTH = 3  # how many consecutive tokens are a run


class Comparison(Protocol):
    """Compares the packed encoding of a query with packed encodings of texts. Safe to share between threads."""

    def compare(self, query: Buffer, documents: Sequence[Buffer]) -> Array:
        """Return the features of each text, float32 of shape (documents, features).

        Raises ValueError if an encoding is damaged, or if it differs from the query's in precision or dimensions.
        """
        ...


class MaxSim:
    """The sum, over a query's vectors, of each vector's highest product with a vector of the text (Khattab & Zaharia 2020).

    `native`: use the native core if it is installed.
    """

    def __init__(self, *, native: bool = True) -> None:
        self._core = native_core() if native else None

    def compare(self, query: Buffer, documents: Sequence[Buffer]) -> Array:
        result = np.empty((len(documents), 1), np.float32)
        if self._core:
            self._core.max_sim(query=query, documents=documents, result=result)
            return result
        query_encoding = unpack(query)
        for index, document in enumerate(documents):
            result[index, 0] = _sum(_highest_products(query_encoding, _checked_document(document, query_encoding)))
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexical:
    """The tables of `LateFeatures`, each float32 of shape (vocabulary,), and the constants of BM25.

    - `idf`: the inverse document frequency of each token.
    - `piece_idf`: the same for word pieces, which are tokens that continue a word, and 0 for other tokens.
    - `stem`: a number per token; tokens of the same stem have the same number.
    - `k1`, `b`, `average_tokens`: BM25's parameters and the average length of a text in tokens.
    """

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
    - BM25 of the words that query and text share, divided by the sum of the query's inverse document frequencies
    - the runs of three tokens that query and text share, of which only the word pieces count, divided by three times that sum

    `native`: use the native core if it is installed.
    """

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
            result[index] = self._features(query_encoding, _checked_document(document, query_encoding))
        return result

    def _features(self, query: Encoding, document: Encoding) -> tuple[float, float, float, float]:
        """Return the four features of one text, in the order of the class's docstring."""
        query_ids = _checked_ids(query, self._lexical)
        ids = _checked_ids(document, self._lexical)
        if query.weights is None:
            raise ValueError("the encoding of a query has no weights")
        best_matches = float(_sum(query.weights * _highest_products(query, document)))
        return _cosine_of_means(query, document), best_matches, *self._lexical_matches(query_ids, ids)

    def _lexical_matches(self, query_ids: Array, ids: Array) -> tuple[float, float]:
        """Return the last two features: those of shared words and of shared runs."""
        lexical = self._lexical
        same = lexical.stem[query_ids][:, None] == lexical.stem[ids]
        counts = same.sum(axis=1).astype(np.float32)
        k1, b = np.float32(lexical.k1), np.float32(lexical.b)
        saturation = np.float32(len(ids)) * (k1 * b / np.float32(lexical.average_tokens)) + k1 * (np.float32(1) - b)
        idf = lexical.idf[query_ids]
        total_idf = np.float32(1e-6) + _sum(idf)  # never 0, because it is a divisor
        words = _sum(idf * (counts * (k1 + 1)) / (counts + saturation))
        # A run that begins at tokens i and j is shared if the tokens i + shift and j + shift are the same for every shift.
        padded = np.pad(same, (0, RUN_LENGTH - 1))
        shifted = [padded[shift : shift + len(query_ids), shift : shift + len(ids)] for shift in range(RUN_LENGTH)]
        begins_shared_run = np.logical_and.reduce(shifted).any(axis=1)
        piece_idf = np.pad(lexical.piece_idf[query_ids], (0, RUN_LENGTH - 1))
        run_idf = piece_idf[:-2] + piece_idf[1:-1] + piece_idf[2:]
        return words / total_idf, _sum(run_idf[begins_shared_run]) / (total_idf * RUN_LENGTH)


def _checked_document(document: Buffer, query: Encoding) -> Encoding:
    """Return a document's encoding. Raises ValueError if it is damaged, or cannot be compared with the query's."""
    encoding = unpack(document)
    if _precision_and_sizes(encoding) != _precision_and_sizes(query):
        raise ValueError("the encodings of a query and a text differ in precision or dimensions")
    return encoding


def _precision_and_sizes(encoding: Encoding) -> tuple[EncodingPrecision, int, int]:
    """Return an encoding's precision, the size of its vectors, and the size of its mean, 0 if it has none."""
    return encoding.precision, encoding.rows.shape[1], 0 if encoding.mean is None else len(encoding.mean)


def _highest_products(query: Encoding, document: Encoding) -> Array:
    """Return each query vector's highest product with a vector of the text, shape (query vectors,).

    A product is 0 if the text has no vectors.
    """
    if not len(document.rows):
        return np.zeros(len(query.rows), np.float32)
    if query.scales is None or document.scales is None:
        highest: Array = (query.vectors @ document.vectors.T).max(axis=1)
        return highest
    # numpy multiplies float64 faster than integers, and float64 holds these integers exactly.
    products = (query.rows.astype(np.float64) @ document.rows.astype(np.float64).T).astype(np.float32)
    scaled: Array = (products * document.scales).max(axis=1) * query.scales
    return scaled


def _cosine_of_means(query: Encoding, document: Encoding) -> float:
    if query.mean is None or document.mean is None:
        raise ValueError("an encoding has no mean")
    product = np.float32(query.mean.astype(np.float64) @ document.mean.astype(np.float64))
    return float(product * np.float32(query.mean_scale) * np.float32(document.mean_scale))


def _checked_ids(encoding: Encoding, lexical: Lexical) -> Array:
    """Return an encoding's token ids. Raises ValueError if it has none, or if one has no row in the tables."""
    if encoding.ids is None or encoding.ids.min() < 0 or encoding.ids.max() >= len(lexical.idf):
        raise ValueError("an encoding has no token ids, or ids outside the vocabulary")
    return encoding.ids


def _sum(numbers: Array) -> np.float32:
    """Return the float32 sum of the numbers, added one after the other; 0 if there are none."""
    total: np.float32 = np.add.accumulate(numbers.astype(np.float32))[-1] if len(numbers) else np.float32(0)
    return total

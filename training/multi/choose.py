"""Choose the share of the trained weights and the coefficients of the comparisons, on collections for tuning.

    python training/multi/choose.py --collections DATA --work WORK --models FOLDER …

The folders are those that export.py wrote with different shares. A document's score is the sum of four comparisons, each
multiplied by its coefficient: the cosine of the means, the best matches, the shared words, and the shared runs of pieces. The
script prints the mean nDCG@10 for the best coefficients, with words weighted by the table's inverse document frequency and, for
comparison, by that in the candidates. It also fits scale and offset of the logit by Platt scaling, in which both classes have
the same weight, so that a probability of 0.5 does not depend on how rare relevant documents are.
"""

from __future__ import annotations

import argparse
import itertools
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import CANDIDATES, DEV, METRIC, best_first, sampled
from sklearn.linear_model import LogisticRegression

from podium.cli.first_stages import first_stage
from podium.encodings.memory import MemoryEncodings
from podium.evaluation.collections import Collection, Qrels, read_collection
from podium.evaluation.evaluate import first_stage_run
from podium.evaluation.metrics import mean, metric_values
from podium.evaluation.runs import Run
from podium.local.files.folder import from_folder
from podium.local.late.comparison import LateFeatures, Lexical
from podium.local.late.encoding import unpack
from podium.local.late.models import Text
from podium.local.late.scorer import LateInteraction

MATCHES = (0.0, 0.3, 0.6, 1.0, 1.5, 2.5)
WORDS = (0.0, 0.01, 0.02, 0.04, 0.07, 0.1)
RUNS = (0.0, 0.1, 0.25)
SHOWN = 4  # the number of rows per kind of frequency
POOLS = ("xquad-en", "xquad-es", "xquad-ar")  # all documents are ranked


@dataclass(frozen=True)
class Compared:
    """The comparisons of a collection: query id → (document ids, array of shape (documents, 4)), by kind of frequency."""

    name: str
    qrels: Qrels
    rows: Mapping[str, Mapping[str, tuple[list[str], np.ndarray]]]

    def ndcg(self, kind: str, coefficients: np.ndarray) -> float:
        run = {
            query_id: best_first(documents, (rows @ coefficients).tolist())
            for query_id, (documents, rows) in self.rows[kind].items()
        }
        qrels = {query_id: self.qrels[query_id] for query_id in run}
        return mean(metric_values([METRIC], qrels, run)[METRIC])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--queries", type=int, default=100, help="per collection")
    parser.add_argument("--names", nargs="+", default=DEV, help="of collections")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    for folder in arguments.models:
        scorer = LateInteraction(from_folder(folder), runtime="native", threads=arguments.threads, store=MemoryEncodings(0))
        compared = [
            _compared(scorer, sampled(read_collection(arguments.collections / name), arguments.queries), arguments.work, folder)
            for name in arguments.names
        ]
        scorer.close()
        _report(folder, compared)


def _report(folder: Path, compared: Sequence[Compared]) -> None:
    print(f"{folder}: {' '.join(collection.name for collection in compared)}")
    for kind in ("table", "candidates"):
        means = {}
        for numbers in itertools.product(MATCHES, WORDS, RUNS):
            coefficients = np.array([1.0, *numbers])
            means[numbers] = [collection.ndcg(kind, coefficients) for collection in compared]
        for numbers in sorted(means, key=lambda numbers: -np.mean(means[numbers]))[:SHOWN]:
            row = " ".join(f"{value:.3f}" for value in means[numbers])
            scale, offset = _curve(compared, kind, np.array([1.0, *numbers]))
            curve = f"scale {scale:.2f} offset {offset:.2f}"
            print(f"{kind:10} {numbers!s:20} {np.mean(means[numbers]):.4f}  {row}  {curve}", flush=True)
        print(f"{kind:10} {'cosine':20} {np.mean(means[0.0, 0.0, 0.0]):.4f}", flush=True)


def _curve(compared: Sequence[Compared], kind: str, coefficients: np.ndarray) -> tuple[float, float]:
    """Fit a logistic curve that predicts relevance from the scores. Return its scale and offset."""
    scores = []
    labels = []
    for collection in compared:
        for query_id, (documents, rows) in collection.rows[kind].items():
            grades = collection.qrels[query_id]
            scores += (rows @ coefficients).tolist()
            labels += [grades.get(document, 0) > 0 for document in documents]
    regression = LogisticRegression(C=1e6, class_weight="balanced").fit(np.array(scores)[:, None], labels)
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])


def _compared(scorer: LateInteraction, collection: Collection, work: Path, folder: Path) -> Compared:
    """Return the comparisons of a collection, which are stored in a file of the work folder."""
    file = work / f"compared.{folder.name}.{collection.name}.pickle"
    if not file.exists():
        file.write_bytes(pickle.dumps(_comparisons(scorer, collection)))
    return Compared(collection.name, collection.qrels, pickle.loads(file.read_bytes()))


def _candidates(collection: Collection) -> Run:
    if collection.name in POOLS:
        return {query_id: dict.fromkeys(collection.documents, 0.0) for query_id in collection.queries}
    with first_stage(collection) as stage:
        return first_stage_run(collection, stage, CANDIDATES, lambda count: None).run


def _comparisons(scorer: LateInteraction, collection: Collection) -> dict[str, dict[str, tuple[list[str], np.ndarray]]]:
    candidates = {query_id: scores for query_id, scores in _candidates(collection).items() if scores}
    document_ids = sorted({document_id for scores in candidates.values() for document_id in scores})
    encodings = dict(zip(document_ids, _encodings(scorer, [collection.documents[i] for i in document_ids]), strict=True))
    queries = _encodings(scorer, [collection.queries[query_id] for query_id in candidates], is_query=True)
    lexical = scorer._late_model.comparison._lexical
    table = LateFeatures(lexical)
    rows: dict[str, dict[str, tuple[list[str], np.ndarray]]] = {"table": {}, "candidates": {}}
    for (query_id, scores), query in zip(candidates.items(), queries, strict=True):
        documents = list(scores)
        document_encodings = [encodings[document_id] for document_id in documents]
        local = LateFeatures(_with_local_frequencies(lexical, query, document_encodings))
        rows["table"][query_id] = (documents, table.compare(query, document_encodings))
        rows["candidates"][query_id] = (documents, local.compare(query, document_encodings))
    return rows


def _encodings(scorer: LateInteraction, texts: Sequence[str], *, is_query: bool = False) -> list[bytes]:
    computed = scorer._loaded_model.run([Text(text, is_query) for text in texts])
    return [computed.outputs[index] for index in computed.indices]


def _with_local_frequencies(lexical: Lexical, query: bytes, documents: Sequence[bytes]) -> Lexical:
    """Return tables in which a query's tokens have their inverse document frequencies in the documents."""
    stems = np.unique(lexical.stem[unpack(query).ids])
    counts = sum(np.isin(stems, lexical.stem[unpack(document).ids]).astype(float) for document in documents)
    by_stem = dict(zip(stems, np.log(1 + (len(documents) - counts + 0.5) / (counts + 0.5)), strict=True))
    idf = np.zeros(len(lexical.idf), np.float32)
    ids = unpack(query).ids
    idf[ids] = [by_stem[stem] for stem in lexical.stem[ids]]
    idf *= lexical.idf > 0  # punctuation has no weight
    piece_idf = idf * (lexical.piece_idf > 0)
    return Lexical(
        idf=idf,
        piece_idf=piece_idf,
        stem=lexical.stem,
        k1=lexical.k1,
        b=lexical.b,
        average_tokens=lexical.average_tokens,
    )


if __name__ == "__main__":
    main()

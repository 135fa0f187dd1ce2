"""Measure mixtures of the trained and the parent model, and coefficients of the four comparisons, on collections for tuning.

A comparison is a number for a query and a document: the cosine of their means, their best-matching tokens, shared words, or
shared runs of tokens. A document's score is the sum of its comparisons, each multiplied by its coefficient.

Prints nDCG@10 (its mean and its value for each collection) of the best coefficients and of the baselines. Also prints the scale
and the offset that turn scores into logits, fitted by Platt scaling. Both classes have the same total weight in this fit, so a
probability of 0.5 does not depend on how rare relevant documents are.

python training/choose.py --collections FOLDER --work FOLDER --parent FOLDER --shares 0 0.5 1
"""

from __future__ import annotations

import argparse
import itertools
import random
from pathlib import Path

import numpy as np
import torch
from export import averaged
from measure import DEV, best_first
from model import Late
from sklearn.linear_model import LogisticRegression

from podium.cli.first_stages import first_stage
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.metrics import mean, metric_values

# The coefficients that are tried for three of the comparisons. That of the cosine is 1.
MATCH_COEFFICIENTS = (1.0, 1.5, 2.0, 3.0)
WORD_COEFFICIENTS = (0.1, 0.2, 0.3)
RUN_COEFFICIENTS = (1.0, 2.0, 3.0)
EXPORTED_COEFFICIENTS = (1.5, 0.3, 3.0)  # the default of export.py
QUERY_TOKENS = 64
DOCUMENT_TOKENS = 400
BATCH = 32
Judged = list[tuple[np.ndarray, bool]]
"""Pairs (the four comparisons of a query with a document, whether the document is relevant)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collections", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder in which train.py wrote kept.pt, the trained model")
    parser.add_argument("--parent", type=Path, required=True, help="folder of the model that was trained further")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5, 1.0], help="of the trained model")
    parser.add_argument("--queries", type=int, default=40, help="per collection")
    parser.add_argument("--names", nargs="+", default=DEV, help="of collections")
    arguments = parser.parse_args()
    for share in arguments.shares:
        parent = Late(arguments.parent)
        model = Late(arguments.parent)
        model.load_state_dict(torch.load(arguments.work / "kept.pt", weights_only=True)["model"])
        model = averaged(parent, model, share)
        judged: Judged = []
        tables = [_ndcg(model, arguments.collections / name, arguments.queries, judged) for name in arguments.names]
        means = {key: sum(table[key] for table in tables) / len(tables) for key in tables[0]}
        for key in [*sorted(means, key=means.__getitem__)[-4:], "BM25", "cosine", "fused", EXPORTED_COEFFICIENTS]:
            curve = "scale {:.2f} offset {:.2f}".format(*_curve(judged, key)) if isinstance(key, tuple) else ""
            row = " ".join(f"{table[key]:.3f}" for table in tables)
            print(f"{share:.2f} {key!s:12} {means[key]:.4f}  {row}  {curve}", flush=True)


def _curve(judged: Judged, coefficients: tuple[float, ...]) -> tuple[float, float]:
    """Fit a logistic curve that predicts relevance from the scores with these coefficients. Return its scale and offset."""
    scores = np.array([comparisons @ np.array([1.0, *coefficients]) for comparisons, _ in judged])
    regression = LogisticRegression(C=1e6, class_weight="balanced").fit(
        scores[:, None], [is_relevant for _, is_relevant in judged]
    )
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])


@torch.inference_mode()
def _ndcg(model: Late, folder: Path, query_count: int, judged: Judged) -> dict[object, float]:
    """Return nDCG@10 on random queries of a collection, by (coefficients of matches, words, runs) or by a baseline's name.

    Appends the comparisons of all candidates to `judged`.
    """
    collection = read_collection(folder)
    query_ids = sorted(collection.queries)
    query_ids = random.Random(1).sample(query_ids, min(query_count, len(query_ids)))
    with first_stage(collection) as bm25:
        candidates = {query_id: dict(bm25(query_id, collection.queries[query_id], 100)) for query_id in query_ids}
    document_ids = {document_id for bm25_scores in candidates.values() for document_id in bm25_scores}
    encodings = _encodings(model, collection, document_ids)
    rankings: dict[object, dict[str, dict[str, float]]] = {}
    for query_id, bm25_scores in candidates.items():
        if not bm25_scores:
            continue
        documents = tuple(_padded([encodings[document_id][part] for document_id in bm25_scores]) for part in range(3))
        comparisons = model(model.read([collection.queries[query_id]], QUERY_TOKENS), documents)[0]
        grades = collection.qrels[query_id]
        for row, document_id in zip(comparisons.numpy(), bm25_scores, strict=True):
            judged.append((row, grades.get(document_id, 0) > 0))
        bm25_tensor = torch.tensor(list(bm25_scores.values()))
        cosines = comparisons[:, 0]
        fused = 0.3 * _scaled(bm25_tensor) + 0.7 * _scaled(cosines)
        scores = {"BM25": bm25_tensor, "cosine": cosines, "fused": fused}
        for coefficients in itertools.product(MATCH_COEFFICIENTS, WORD_COEFFICIENTS, RUN_COEFFICIENTS):
            scores[coefficients] = comparisons @ torch.tensor([1.0, *coefficients])
        for key, values in scores.items():
            rankings.setdefault(key, {})[query_id] = best_first(bm25_scores, values.tolist())
    qrels = {query_id: collection.qrels[query_id] for query_id in query_ids}
    return {key: mean(metric_values(["nDCG@10"], qrels, run)["nDCG@10"]) for key, run in rankings.items()}


def _encodings(model: Late, collection: Collection, document_ids: set[str]) -> dict[str, list[torch.Tensor]]:
    """Return, for each document id, the document's [token ids, mask, token vectors] without padding.

    Documents of similar length are encoded together.
    """
    by_length = sorted(document_ids, key=lambda document_id: len(collection.documents[document_id]))
    encodings = {}
    for start in range(0, len(by_length), BATCH):
        batch = by_length[start : start + BATCH]
        texts = [collection.documents[document_id] for document_id in batch]
        for document_id, *parts in zip(batch, *model.read(texts, DOCUMENT_TOKENS), strict=True):
            length = int(parts[1].sum())
            encodings[document_id] = [part[:length] for part in parts]
    return encodings


def _padded(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)


def _scaled(scores: torch.Tensor) -> torch.Tensor:
    """Return scores scaled to 0 to 1."""
    return (scores - scores.min()) / (scores.max() - scores.min()).clamp(min=1e-9)


if __name__ == "__main__":
    main()

"""Which share of the training, and which weights of the four comparisons? Measured on collections one may tune on.

Prints nDCG@10, the mean and each collection's, of the best weights, of what is to be beaten, and the logit's scale and
offset (Platt; relevant documents weigh as much as the others together, so that 0.5 is "as likely as not" among equals).

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
from podium.evaluation.collections import read_collection
from podium.evaluation.metrics import mean, per_query

MATCHES, WORDS, RUNS = (1.0, 1.5, 2.0, 3.0), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0)
QUERY_TOKENS, DOCUMENT_TOKENS, AT_ONCE = 64, 400, 32
Judged = list[tuple[np.ndarray, bool]]  # the four comparisons of a query with a document, and whether it is relevant


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--collections", type=Path, required=True)
    asked.add_argument("--work", type=Path, required=True)
    asked.add_argument("--parent", type=Path, required=True)
    asked.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    asked.add_argument("--queries", type=int, default=40, help="of each collection")
    asked.add_argument("--names", nargs="+", default=DEV)
    given = asked.parse_args()
    for share in given.shares:
        model, parent = Late(given.parent), Late(given.parent)
        if (given.work / "kept.pt").exists():
            model.load_state_dict(torch.load(given.work / "kept.pt", weights_only=True)["model"])
        model = averaged(parent, model, share)
        judged: Judged = []
        tables = [_measured(model, given.collections / name, given.queries, judged) for name in given.names]
        means = {key: sum(table[key] for table in tables) / len(tables) for key in tables[0]}
        for key in [*sorted(means, key=means.__getitem__)[-4:], "BM25", "cosine", "fused", (1.5, 0.3, 3.0)]:
            curve = "scale {:.2f} offset {:.2f}".format(*_curve(judged, key)) if isinstance(key, tuple) else ""
            row = " ".join(f"{table[key]:.3f}" for table in tables)
            print(f"{share:.2f} {key!s:12} {means[key]:.4f}  {row}  {curve}", flush=True)


def _curve(judged: Judged, weights: tuple[float, ...]) -> tuple[float, float]:
    scores = np.array([row @ np.array([1.0, *weights]) for row, _ in judged])
    fitted = LogisticRegression(C=1e6, class_weight="balanced").fit(scores[:, None], [hit for _, hit in judged])
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


@torch.inference_mode()
def _measured(model: Late, folder: Path, count: int, judged: Judged) -> dict[object, float]:
    """Return nDCG@10 by weights of matches and words beside the cosine's 1, and of what is to be beaten."""
    collection = read_collection(folder)
    queries = sorted(collection.queries)
    queries = random.Random(1).sample(queries, min(count, len(queries)))
    find = first_stage(collection, None, None, None)
    runs = {query: dict(find(query, collection.queries[query], 100)) for query in queries}
    needed = sorted({name for run in runs.values() for name in run}, key=lambda name: len(collection.documents[name]))
    read = {}
    for start in range(0, len(needed), AT_ONCE):
        names = needed[start : start + AT_ONCE]
        for name, *parts in zip(
            names, *model.read([collection.documents[name] for name in names], DOCUMENT_TOKENS), strict=True
        ):
            length = int(parts[1].sum())
            read[name] = [part[:length] for part in parts]
    ranked: dict[object, dict[str, dict[str, float]]] = {}
    for query, run in runs.items():
        if not run:
            continue
        found = [_padded([read[name][part] for name in run]) for part in range(3)]
        parts = model(model.read([collection.queries[query]], QUERY_TOKENS), tuple(found))[0]
        grades = collection.qrels[query]
        judged += [(row, grades.get(name, 0) > 0) for row, name in zip(parts.numpy(), run, strict=True)]
        bm25 = torch.tensor(list(run.values()))
        scores = {"BM25": bm25, "cosine": parts[:, 0], "fused": 0.3 * _spread(bm25) + 0.7 * _spread(parts[:, 0])}
        for weights in itertools.product(MATCHES, WORDS, RUNS):
            scores[weights] = parts @ torch.tensor([1.0, *weights])
        for key, values in scores.items():
            ranked.setdefault(key, {})[query] = best_first(run, values.tolist())
    qrels = {query: collection.qrels[query] for query in queries}
    return {key: mean(per_query(["nDCG@10"], qrels, run)["nDCG@10"]) for key, run in ranked.items()}


def _padded(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)


def _spread(scores: torch.Tensor) -> torch.Tensor:
    return (scores - scores.min()) / (scores.max() - scores.min()).clamp(min=1e-9)


if __name__ == "__main__":
    main()

"""Train the upper layers and the heads: python training/multi/train.py --work WORK --base BASE [--steps 200]

The targets are the similarities of two models: the base's own, and, for English, those of the teacher, all-mpnet-base-v2. To
these a contrastive loss on the pairs is added, and a penalty for moving the means of texts away from the base's.

After an interruption, the same command continues from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path

import data
import numpy as np
import tables
import torch
from hidden import QUERY_TOKENS
from model import DIMENSIONS, PASSAGE_START, QUERY_START, TRAINED_TOKENS, HiddenRows, Late, means, own_tokens, shared_words
from torch import Tensor
from torch.nn import functional

SEED = 0
BATCH_QUERIES = 12
NEIGHBOURS = 60  # the number of queries that are most similar to a batch's first one, from which the others are drawn
HARD_NEGATIVES = 2  # per query
HARDEST = 40  # the number of passages that are most similar for the teacher
DRAWN_FROM = 30  # the number of them, without duplicates of the answer, from which negatives are drawn
DUPLICATE_OVERLAP = 0.6  # two passages with this share of the smaller one's words in common count as the same text
NEIGHBOURS_SHARE = 0.75  # the share of batches with similar queries; the others have queries of all sources
LAST_STEP = 300
WARM_UP_STEPS = 30
CHECKPOINT_STEPS = 25
LAYER_RATE = 1.5e-4  # the learning rate of the layers; all rates fall linearly, and would be 0 after the last step
HEAD_RATES = {"projection": 1e-3, "importance": 1e-3, "coefficients": 2e-2}
# The coefficients of the targets: of the base's cosine and best matches, and of the teacher's cosine, or, for other languages
# than English, of the base's cosine again.
TARGET_COSINE, TARGET_MATCHES, TARGET_TEACHER, TARGET_OTHER = 40.0, 15.0, 14.0, 30.0
PASSAGE_COSINE = 70.0  # the coefficient of the model's cosines of passages, so that they are as spread as the targets
LOSS_COEFFICIENTS = {"passages": 0.3, "pairs": 0.1, "drift": 2.0}


@dataclass(frozen=True)
class Material:
    """What a step draws from. `groups` has the indices of queries by source, generated queries included."""

    pairs: data.Pairs
    queries: HiddenRows
    passages: HiddenRows
    base_queries: HiddenRows
    base_passages: HiddenRows
    teacher_queries: np.ndarray
    teacher_passages: np.ndarray
    is_english: np.ndarray
    groups: list[list[int]]
    rates: list[float]
    stem: Tensor
    idf: Tensor


@dataclass(frozen=True)
class Batch:
    queries: list[int]
    passages: list[int]
    answers: Tensor  # for each query, the position of its answer in `passages`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder in which hidden.py wrote its files")
    parser.add_argument("--base", type=Path, required=True, help="the folder that base.py wrote")
    parser.add_argument("--steps", type=int, default=LAST_STEP)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    pairs = data.Pairs(**json.loads((arguments.work / "pairs.json").read_text()))
    config = json.loads((arguments.base / "config.json").read_text())
    token_tables = tables.make(arguments.base, pairs.passages, config["vocab_size"])
    material = read_material(arguments.work, pairs, config["hidden_size"], token_tables)
    importance = torch.from_numpy(token_tables.importance)
    model = Late(arguments.base, importance)
    train(model, material, arguments.work, arguments.steps)


def read_material(work: Path, pairs: data.Pairs, width: int, token_tables: tables.Tables) -> Material:
    teacher = np.load(work / "teacher.npz")
    keys = list(dict.fromkeys((source.folder, source.is_english) for source in data.SOURCES))
    groups: dict[tuple[str, bool], list[int]] = {key: [] for key in keys}
    for query, source_index in enumerate(pairs.sources):
        source = data.SOURCES[source_index]
        groups[source.folder, source.is_english].append(query)
    rates = {(source.folder, source.is_english): source.rate for source in data.SOURCES}
    return Material(
        pairs=pairs,
        queries=HiddenRows(work / "queries", width),
        passages=HiddenRows(work / "passages", width),
        base_queries=HiddenRows(work / "final-queries", width),
        base_passages=HiddenRows(work / "final-passages", width),
        teacher_queries=teacher["queries"],
        teacher_passages=teacher["passages"],
        is_english=np.array([data.SOURCES[source].is_english for source in pairs.sources]),
        groups=list(groups.values()),
        rates=[len(groups[key]) * rates[key] for key in keys],
        stem=torch.from_numpy(token_tables.stem),
        idf=torch.from_numpy(token_tables.idf),
    )


def train(model: Late, material: Material, work: Path, steps: int) -> None:
    """Train from the last checkpoint, if there is one. Write checkpoints and the losses of each step to `work`."""
    parts = ("layers", *HEAD_RATES)
    groups = [
        {"params": [weight for name, weight in model.named_parameters() if name.startswith(part)], "name": part}
        for part in parts
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    checkpoint = work / "kept.pt"
    first_step = 1
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first_step = state["step"] + 1
    else:
        model.projection.weight.data.copy_(principal_axes(material))
    began = time.monotonic()
    for step in range(first_step, steps + 1):
        for group in optimiser.param_groups:
            rate = HEAD_RATES.get(group["name"], LAYER_RATE)
            group["lr"] = rate * min(1, step / WARM_UP_STEPS) * (1 - step / (steps + 1))
        losses = losses_of(model, material, draw(material, random.Random(f"{SEED} {step}")))
        loss = losses["targets"] + sum(coefficient * losses[name] for name, coefficient in LOSS_COEFFICIENTS.items())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        row = {"step": step, "loss": loss.item()} | {name: value.item() for name, value in losses.items()}
        with (work / "progress.jsonl").open("a") as file:
            file.write(json.dumps(row | {"seconds": time.monotonic() - began}) + "\n")
        if step % CHECKPOINT_STEPS == 0 or step == steps:
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, work / "new.pt")
            (work / "new.pt").replace(checkpoint)
    print(f"{checkpoint}: {steps} steps")


def draw(material: Material, generator: random.Random) -> Batch:
    """Draw queries, their answers, and hard negatives for each.

    In most batches the queries are similar, so that every passage is a plausible answer to every query.
    """
    if generator.random() < NEIGHBOURS_SHARE:
        group = generator.choices(material.groups, material.rates)[0]
        queries = _similar_queries(material, np.array(group), generator)
    else:
        groups = generator.choices(material.groups, material.rates, k=BATCH_QUERIES)
        queries = [generator.choice(group) for group in groups]
    answers = [material.pairs.answers[query] for query in queries]
    negatives = [passage for query in queries for passage in _hard_negatives(material, query, generator)]
    passages = list(dict.fromkeys(answers + negatives))
    return Batch(queries, passages, torch.tensor([passages.index(answer) for answer in answers]))


def _similar_queries(material: Material, group: np.ndarray, generator: random.Random) -> list[int]:
    """Draw a query of a group, and others of those that are most similar to it for the teacher."""
    first = generator.choice(group)
    similarities = material.teacher_queries[group] @ material.teacher_queries[first]
    nearest = group[np.argsort(-similarities)[: NEIGHBOURS + 1]]
    others = [int(query) for query in nearest if query != first]
    return [int(first), *generator.sample(others, BATCH_QUERIES - 1)]


def _hard_negatives(material: Material, query: int, generator: random.Random) -> list[int]:
    """Draw from the passages that are most similar to a query for the teacher, without its answer and near-duplicates."""
    similarities = material.teacher_passages @ material.teacher_queries[query]
    hardest = np.argpartition(-similarities, HARDEST)[:HARDEST]
    hardest = hardest[np.argsort(-similarities[hardest])]
    answer = material.pairs.answers[query]
    words = set(material.pairs.passages[answer].lower().split())
    negatives = []
    for passage in map(int, hardest):
        other_words = set(material.pairs.passages[passage].lower().split())
        is_duplicate = len(words & other_words) >= DUPLICATE_OVERLAP * min(len(words), len(other_words))
        if passage != answer and not is_duplicate:
            negatives.append(passage)
    return generator.sample(negatives[:DRAWN_FROM], min(HARD_NEGATIVES, len(negatives)))


def losses_of(model: Late, material: Material, batch: Batch) -> dict[str, Tensor]:
    """Return the losses of a batch, in which each query and each passage is compared with all passages."""
    queries = material.queries.batch(batch.queries, QUERY_TOKENS)
    passages = material.passages.batch(batch.passages, TRAINED_TOKENS)
    base_queries = material.base_queries.batch(batch.queries, QUERY_TOKENS)
    base_passages = material.base_passages.batch(batch.passages, TRAINED_TOKENS)
    with torch.no_grad():
        targets = _targets(model, material, batch, base_queries, base_passages)
        passage_targets = _passage_targets(material, batch, means(base_passages))
    queries = model.encode(queries)
    passages = model.encode(passages)
    query_means = means(queries)
    passage_means = means(passages)
    cosine, matches, words = model.coefficients
    scores = cosine * query_means @ passage_means.T + matches * model.best_matches(queries, passages)
    shared = shared_words(queries, passages, material.stem, material.idf)
    drift = 2 - (query_means * means(base_queries)).sum(-1).mean() - (passage_means * means(base_passages)).sum(-1).mean()
    return {
        "targets": _divergence(scores, targets),
        "passages": _divergence(_without_self(PASSAGE_COSINE * passage_means @ passage_means.T), passage_targets),
        "pairs": functional.cross_entropy(scores + words * shared, batch.answers),
        "drift": drift,
    }


def _divergence(scores: Tensor, targets: Tensor) -> Tensor:
    return functional.kl_div(scores.log_softmax(-1), targets.softmax(-1), reduction="batchmean")


def _without_self(similarities: Tensor) -> Tensor:
    """Return the similarities of passages without those of each passage with itself."""
    return similarities - 1e4 * torch.eye(len(similarities))


def _passage_targets(material: Material, batch: Batch, base_means: Tensor) -> Tensor:
    """Return the similarities of passages to imitate, shape (passages, passages). Passages are English."""
    teacher = torch.from_numpy(material.teacher_passages[batch.passages])
    return _without_self(TARGET_COSINE * base_means @ base_means.T + TARGET_TEACHER * teacher @ teacher.T)


def _targets(model: Late, material: Material, batch: Batch, queries: tuple, passages: tuple) -> Tensor:
    """Return the scores to imitate, shape (queries, passages), of texts with rows of the base."""
    cosines = means(queries) @ means(passages).T
    matches = model.base_matches(queries, passages)
    teacher = material.teacher_queries[batch.queries] @ material.teacher_passages[batch.passages].T
    is_english = torch.from_numpy(material.is_english[batch.queries])[:, None]
    others = torch.where(is_english, TARGET_TEACHER * torch.from_numpy(teacher), TARGET_OTHER * cosines)
    return TARGET_COSINE * cosines + TARGET_MATCHES * matches + others


def principal_axes(material: Material) -> Tensor:
    """Return the first axes of an uncentred principal component analysis of the base's rows, shape (DIMENSIONS, width)."""
    total = torch.zeros(())
    for seed in range(12):
        for hidden_rows, start, length in (
            (material.base_queries, QUERY_START, QUERY_TOKENS),
            (material.base_passages, PASSAGE_START, TRAINED_TOKENS),
        ):
            indices = random.Random(seed).sample(range(len(hidden_rows)), 16)
            _, mask, rows = hidden_rows.batch(indices, length)
            vectors = functional.normalize(rows[own_tokens(mask, start) > 0], dim=-1)
            total = total + vectors.T @ vectors / len(vectors)
    return torch.linalg.eigh(total)[1].flip(1)[:, :DIMENSIONS].T.clone()


if __name__ == "__main__":
    main()

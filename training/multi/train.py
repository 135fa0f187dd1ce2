"""Train the upper layers and the heads: python training/multi/train.py --work WORK --base BASE [--steps 200]

The targets are the similarities of two models: the base's own, and, for English, those of the teacher, all-MiniLM-L6-v2. To
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
from model import PASSAGE_START, QUERY_START, HiddenRows, Late, means, own_tokens, shared_words
from torch import Tensor, nn
from torch.nn import functional

SEED = 0
BATCH_QUERIES = 16
HARD_NEGATIVES = 2  # per query
HARDEST = 40  # the number of passages that are most similar for the teacher
DRAWN_FROM = 30  # the number of them, without duplicates of the answer, from which negatives are drawn
DUPLICATE_OVERLAP = 0.6  # two passages with this share of the smaller one's words in common count as the same text
ONE_SOURCE_SHARE = 0.75  # the share of batches whose queries all come from one source
TRAINED_TOKENS = 128  # of a passage
LAST_STEP = 200  # fewer than the schedule has, because time was limited
WARM_UP_STEPS = 30
CHECKPOINT_STEPS = 25
HEAD_RATES = {"projection": 1e-3, "importance": 1e-3, "coefficients": 2e-2}
# The coefficients of the targets: of the base's cosine and best matches, and of the teacher's cosine, or, for other languages
# than English, of the base's cosine again.
TARGET_COSINE, TARGET_MATCHES, TARGET_TEACHER, TARGET_OTHER = 40.0, 30.0, 13.0, 20.0
PAIR_LOSS = 0.3  # the coefficient of the contrastive loss


@dataclass(frozen=True)
class Phase:
    """Settings from `first_step` on.

    - `rate`: the learning rate of the layers. All learning rates fall linearly, and would be 0 after step `schedule`.
    - `drift`: the coefficient of the penalty.
    """

    first_step: int
    rate: float
    schedule: int
    drift: float


PHASES = (Phase(1, 3e-5, 400, 5.0), Phase(126, 1e-4, 300, 1.0))
"""After 125 steps, the base's cosine had hardly changed, so the second phase lets it change faster."""


@dataclass(frozen=True)
class Material:
    """What a step draws from. `groups` has the indices of queries by source, generated queries included."""

    pairs: data.Pairs
    queries: HiddenRows
    passages: HiddenRows
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
    base = Late(arguments.base, importance)
    train(model, base, material, arguments.work, arguments.steps)


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
        teacher_queries=teacher["queries"],
        teacher_passages=teacher["passages"],
        is_english=np.array([data.SOURCES[source].is_english for source in pairs.sources]),
        groups=list(groups.values()),
        rates=[len(groups[key]) * rates[key] for key in keys],
        stem=torch.from_numpy(token_tables.stem),
        idf=torch.from_numpy(token_tables.idf),
    )


def train(model: Late, base: Late, material: Material, work: Path, steps: int) -> None:
    """Train from the last checkpoint, if there is one. Write checkpoints and the losses of each step to `work`."""
    for weight in base.parameters():
        weight.requires_grad = False
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
        model.projection.weight.data.copy_(principal_axes(model, material))
    began = time.monotonic()
    for step in range(first_step, steps + 1):
        phase = [phase for phase in PHASES if phase.first_step <= step][-1]
        for group in optimiser.param_groups:
            rate = HEAD_RATES.get(group["name"], phase.rate)
            group["lr"] = rate * min(1, step / WARM_UP_STEPS) * (1 - step / (phase.schedule + 1))
        losses = losses_of(model, base, material, draw(material, random.Random(f"{SEED} {step}")))
        loss = losses["targets"] + PAIR_LOSS * losses["pairs"] + phase.drift * losses["drift"]
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
    """Draw queries, their answers, and hard negatives for each."""
    if generator.random() < ONE_SOURCE_SHARE:
        group = generator.choices(material.groups, material.rates)[0]
        queries = generator.sample(group, BATCH_QUERIES)
    else:
        groups = generator.choices(material.groups, material.rates, k=BATCH_QUERIES)
        queries = [generator.choice(group) for group in groups]
    answers = [material.pairs.answers[query] for query in queries]
    negatives = [passage for query in queries for passage in _hard_negatives(material, query, generator)]
    passages = list(dict.fromkeys(answers + negatives))
    return Batch(queries, passages, torch.tensor([passages.index(answer) for answer in answers]))


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


def losses_of(model: Late, base: Late, material: Material, batch: Batch) -> dict[str, Tensor]:
    """Return three losses of a batch, in which each query is compared with all passages."""
    queries = material.queries.batch(batch.queries, QUERY_TOKENS)
    passages = material.passages.batch(batch.passages, TRAINED_TOKENS)
    with torch.no_grad():
        base_queries = base.encode(queries)
        base_passages = base.encode(passages)
        targets = _targets(base, material, batch, base_queries, base_passages)
    queries = model.encode(queries)
    passages = model.encode(passages)
    query_means = means(queries)
    passage_means = means(passages)
    cosine, matches, words = model.coefficients
    scores = cosine * query_means @ passage_means.T + matches * model.best_matches(queries, passages)
    shared = shared_words(queries, passages, material.stem, material.idf)
    drift = 2 - (query_means * means(base_queries)).sum(-1).mean() - (passage_means * means(base_passages)).sum(-1).mean()
    return {
        "targets": functional.kl_div(scores.log_softmax(-1), targets.softmax(-1), reduction="batchmean"),
        "pairs": functional.cross_entropy(scores + words * shared, batch.answers),
        "drift": drift,
    }


def _targets(base: Late, material: Material, batch: Batch, queries: tuple, passages: tuple) -> Tensor:
    """Return the scores to imitate, shape (queries, passages)."""
    cosines = means(queries) @ means(passages).T
    matches = base.best_matches(queries, passages, projection=nn.Identity())
    teacher = material.teacher_queries[batch.queries] @ material.teacher_passages[batch.passages].T
    is_english = torch.from_numpy(material.is_english[batch.queries])[:, None]
    others = torch.where(is_english, TARGET_TEACHER * torch.from_numpy(teacher), TARGET_OTHER * cosines)
    return TARGET_COSINE * cosines + TARGET_MATCHES * matches + others


@torch.inference_mode()
def principal_axes(model: Late, material: Material) -> Tensor:
    """Return the first axes of an uncentred principal component analysis of token rows, shape (DIMENSIONS, width)."""
    total = torch.zeros(model.projection.weight.shape[1], model.projection.weight.shape[1])
    for seed in range(12):
        for hidden_rows, start, length in (
            (material.queries, QUERY_START, QUERY_TOKENS),
            (material.passages, PASSAGE_START, TRAINED_TOKENS),
        ):
            indices = random.Random(seed).sample(range(len(hidden_rows)), 16)
            _, mask, rows = model.encode(hidden_rows.batch(indices, length))
            vectors = functional.normalize(rows[own_tokens(mask, start) > 0], dim=-1)
            total += vectors.T @ vectors / len(vectors)
    return torch.linalg.eigh(total)[1].flip(1)[:, : model.projection.weight.shape[0]].T.clone()


if __name__ == "__main__":
    main()

"""data → weights, in one command: python training/train.py --pairs FOLDER --parent FOLDER --work FOLDER

Each stage keeps its result in the work folder: stopped at any moment, the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict
from pathlib import Path

import data
import torch
from model import Late, frequencies
from torch.nn import functional

SEED, STEPS, QUERIES = 0, 480, 16
RATE, WARM, SHARPNESS = 2e-5, 60, 8.0
QUERY_TOKENS, PASSAGE_TOKENS = 48, 144
KEEP_EVERY = 50
WEIGHTS = torch.tensor([1.0, 1.5, 0.2, 0.0])  # while training; choose.py finds those that are used


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--pairs", type=Path, required=True, help="the folder with one folder per source")
    asked.add_argument("--parent", type=Path, required=True, help="sentence-transformers/all-MiniLM-L6-v2")
    asked.add_argument("--work", type=Path, required=True, help="what is kept between the stages")
    asked.add_argument("--steps", type=int, default=STEPS)
    given = asked.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    lists = _lists(given.work / "lists.json", given.pairs, given.parent)
    model = Late(given.parent)
    model.idf.copy_(frequencies(model.tokenizer, lists.passages))
    train(model, lists, given.work, given.steps)


def _lists(kept: Path, pairs: Path, parent: Path) -> data.Lists:
    if not kept.exists():
        kept.write_text(json.dumps(asdict(data.make(pairs, parent))))
    return data.Lists(**json.loads(kept.read_text()))


def train(model: Late, lists: data.Lists, work: Path, steps: int) -> None:
    """Contrast every query with all passages of its batch: its own, the others', and a hard negative for each."""
    for name, weight in model.encoder.named_parameters():
        weight.requires_grad = not name.startswith("embeddings.")
    groups = [
        {"params": [weight for weight in model.encoder.parameters() if weight.requires_grad], "rate": RATE},
        {"params": list(model.importance.parameters()), "rate": 20 * RATE},
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE, weight_decay=0.0)
    kept, done = work / "kept.pt", 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        done = state["step"]
    began = time.monotonic()
    for step in range(done + 1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * min(1, step / WARM) * (1 - step / (steps + 1))
        loss = _loss(model, lists, random.Random(f"{SEED} {step}"))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with (work / "progress.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "loss": loss.item(), "seconds": time.monotonic() - began}) + "\n")
        if step % KEEP_EVERY == 0 or step == steps:
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, work / "new.pt")
            (work / "new.pt").replace(kept)
    print(f"{kept}: {steps} steps")


def _loss(model: Late, lists: data.Lists, chance: random.Random) -> torch.Tensor:
    rows = chance.sample(lists.rows, QUERIES)
    passages = list(dict.fromkeys([row[1] for row in rows] + [chance.choice(row[2:]) for row in rows]))
    asked = model.read([lists.queries[row[0]] for row in rows], QUERY_TOKENS)
    read = model.read([lists.passages[at] for at in passages], PASSAGE_TOKENS)
    right = torch.tensor([passages.index(row[1]) for row in rows])
    return functional.cross_entropy(SHARPNESS * model(asked, read) @ WEIGHTS, right)


if __name__ == "__main__":
    main()

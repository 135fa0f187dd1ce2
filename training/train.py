"""Train the weights from the pairs: python training/train.py --pairs FOLDER --parent FOLDER --work FOLDER

Each stage stores its result in the work folder. After an interruption, the same command continues from there.
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

SEED = 0
STEPS = 480
BATCH_QUERIES = 16
LEARNING_RATE = 2e-5
WARM_UP_STEPS = 60
SCALE = 8.0  # scores are multiplied by it before the softmax of the loss
QUERY_TOKENS = 48
PASSAGE_TOKENS = 144
CHECKPOINT_STEPS = 50  # the number of steps from one checkpoint to the next
WEIGHTS = torch.tensor([1.0, 1.5, 0.2, 0.0])  # used during training; choose.py finds the final ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="the folder with one folder per source")
    parser.add_argument("--parent", type=Path, required=True, help="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--work", type=Path, required=True, help="the folder for the results of each stage")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    lists = _lists(arguments.work / "lists.json", arguments.pairs, arguments.parent)
    model = Late(arguments.parent)
    model.idf.copy_(frequencies(model.tokenizer, lists.passages))
    train(model, lists, arguments.work, arguments.steps)


def _lists(file: Path, pairs: Path, parent: Path) -> data.Lists:
    """Return the training lists in a file, which is written first if it does not exist."""
    if not file.exists():
        file.write_text(json.dumps(asdict(data.make(pairs, parent))))
    return data.Lists(**json.loads(file.read_text()))


def train(model: Late, lists: data.Lists, work: Path, steps: int) -> None:
    """Train the model from the last checkpoint, if there is one, and write checkpoints and the loss of each step to `work`."""
    for name, weight in model.encoder.named_parameters():
        weight.requires_grad = not name.startswith("embeddings.")
    groups = [
        {"params": [weight for weight in model.encoder.parameters() if weight.requires_grad], "rate": LEARNING_RATE},
        {"params": list(model.importance.parameters()), "rate": 20 * LEARNING_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=0.0)
    checkpoint = work / "kept.pt"
    first_step = 1
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first_step = state["step"] + 1
    began = time.monotonic()
    for step in range(first_step, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * min(1, step / WARM_UP_STEPS) * (1 - step / (steps + 1))
        loss = _loss(model, lists, random.Random(f"{SEED} {step}"))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with (work / "progress.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "loss": loss.item(), "seconds": time.monotonic() - began}) + "\n")
        if step % CHECKPOINT_STEPS == 0 or step == steps:
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, work / "new.pt")
            (work / "new.pt").replace(checkpoint)
    print(f"{checkpoint}: {steps} steps")


def _loss(model: Late, lists: data.Lists, generator: random.Random) -> torch.Tensor:
    """Return the loss of a random batch of queries.

    Each query is compared with all passages of the batch: the positives of all queries, and one hard negative per query.
    """
    rows = generator.sample(lists.rows, BATCH_QUERIES)
    passages = list(dict.fromkeys([row[1] for row in rows] + [generator.choice(row[2:]) for row in rows]))
    encoded_queries = model.read([lists.queries[row[0]] for row in rows], QUERY_TOKENS)
    encoded_passages = model.read([lists.passages[passage] for passage in passages], PASSAGE_TOKENS)
    positives = torch.tensor([passages.index(row[1]) for row in rows])
    return functional.cross_entropy(SCALE * model(encoded_queries, encoded_passages) @ WEIGHTS, positives)


if __name__ == "__main__":
    main()

"""Rank all paragraphs of XQuAD for its questions, in every language, and print the nDCG@10 of models.

    python training/multi/languages.py XQUAD podium-mini ./models/podium-multi/src/podium_multi/model

XQUAD has `xquad.LANGUAGE.json`, from the repository google-deepmind/xquad (CC BY-SA 4.0). Each question has one relevant
paragraph. The paragraphs of a model are encoded once.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from pathlib import Path

import podium

QUESTIONS = 100  # of each language, chosen at random
KEPT_BYTES = 500_000_000  # enough for the encodings of all paragraphs of a language


def read(path: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """Return the paragraphs, and questions with the index of the paragraph that answers each."""
    paragraphs, questions = [], []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            questions += [(item["question"], len(paragraphs)) for item in paragraph["qas"]]
            paragraphs.append(paragraph["context"])
    random.Random(0).shuffle(questions)
    return paragraphs, questions[:QUESTIONS]


def ndcg(reranker: podium.Reranker, paragraphs: list[str], questions: list[tuple[str, int]]) -> float:
    """Return the mean nDCG@10, of which the relevant paragraph's rank is all that matters."""
    gains = []
    for question, answer in questions:
        scores = reranker.score(question, paragraphs)
        rank = 1 + sum(score > scores[answer] for score in scores)
        gains.append(1 / math.log2(rank + 1) if rank <= 10 else 0.0)
    return statistics.mean(gains)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("xquad", type=Path)
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    files = sorted(arguments.xquad.glob("xquad.*.json"))
    for model in arguments.models:
        with podium.load(model, keep=KEPT_BYTES) as reranker:
            for file in files:
                paragraphs, questions = read(file)
                began = time.process_time()
                value = ndcg(reranker, paragraphs, questions)
                seconds = time.process_time() - began
                print(f"{model}  {file.name}  nDCG@10 {value:.3f}  {seconds:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    main()

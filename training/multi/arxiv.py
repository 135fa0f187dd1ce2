"""Write pairs of a paper's title and its abstract, about physics and computing, from a copy of arXiv's metadata.

    python training/multi/arxiv.py REPOSITORY PAIRS/arxiv

REPOSITORY is a clone of staeiou/arxiv_archive, of which the lists of `CATEGORIES` are read. arXiv publishes its metadata, which
includes the abstracts, under CC0 1.0 (info.arxiv.org/help/api/tou.html). Titles and abstracts with formulas are left out.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SNAPSHOT = "processed_data/20200101/per_category"
COMPUTING = ("AR", "DB", "DC", "GR", "HC", "IR", "MS", "NA", "NI", "OS", "PF", "PL", "SE")
PHYSICS = ("acc-ph", "ao-ph", "app-ph", "atom-ph", "chem-ph", "class-ph", "comp-ph", "geo-ph", "med-ph", "plasm-ph", "space-ph")
CATEGORIES = (*(f"cs.{name}" for name in COMPUTING), *(f"physics.{name}" for name in PHYSICS))
PER_CATEGORY = 120
TITLE_WORDS = range(4, 21)
ABSTRACT_WORDS = range(60, 301)
SEED = 11


def main(repository: str, out: str) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()  # a paper can be in several categories
    with gzip.open(folder / "pairs.jsonl.gz", "wt", encoding="utf-8") as file:
        for category in CATEGORIES:
            pairs = [pair for pair in read_pairs(repository, category) if pair["arxiv_id"] not in seen]
            for pair in random.Random(SEED).sample(pairs, PER_CATEGORY):
                seen.add(pair["arxiv_id"])
                file.write(json.dumps(pair) + "\n")


def read_pairs(repository: str, category: str) -> Iterator[dict[str, str]]:
    """Yield the papers of a category whose title and abstract have a usual length and no formulas."""
    name = f"HEAD:{SNAPSHOT}/{category}.tsv.xz"
    packed = subprocess.run(["git", "-C", repository, "cat-file", "blob", name], check=True, capture_output=True).stdout
    for row in csv.DictReader(io.StringIO(lzma.decompress(packed).decode()), delimiter="\t"):
        title = " ".join(row["title"].split())
        abstract = " ".join(row["abstract"].split())
        has_formula = any(character in title + abstract for character in "$\\{}")
        is_usual = len(title.split()) in TITLE_WORDS and len(abstract.split()) in ABSTRACT_WORDS
        if is_usual and not has_formula:
            yield {"arxiv_id": row["arxiv_id"], "query": title, "positive": abstract}


if __name__ == "__main__":
    main(*sys.argv[1:])

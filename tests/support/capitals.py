"""A few documents about capitals and bread, and an embedded index of them."""

from __future__ import annotations

from pathlib import Path

import podium
from fakes import Letters

CAPITALS = [
    {"title": "Nevada", "text": "Carson City is the capital city of Nevada.", "year": 1864},
    {"title": "Saipan", "text": "The capital of the Northern Mariana Islands is Saipan.", "tags": ["a", {"b": None}]},
    {"title": "Capital", "text": "Punishment has existed in the United States for centuries."},
    {"title": "Bread", "text": "Flour, water, salt and time. 東京 ☃"},
]
IDS = ["n", "s", "c", "b"]


def index_of_capitals(path: Path | None) -> podium.EmbeddedIndex:
    """Return a new index of CAPITALS in the folder `path`. None means in memory."""
    index = podium.EmbeddedIndex.create(path, embed=Letters())
    index.add(CAPITALS, ids=IDS)
    return index


def source_keys(documents: list[dict]) -> list[str]:
    return [document["source_key"] for document in documents]

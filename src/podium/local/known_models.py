"""Recommended cross-encoders, and the licence that a model's card declares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KNOWN", "Known", "licence_of"]


@dataclass(frozen=True, slots=True)
class Known:
    """A model on the hub. `millions` is its number of parameters."""

    name: str
    licence: str
    millions: int
    good_for: str


# From their model cards, November 2026. Other models run just as well.
KNOWN = (
    Known("cross-encoder/ms-marco-MiniLM-L6-v2", "apache-2.0", 23, "English, the usual choice"),
    Known("cross-encoder/ettin-reranker-17m-v1", "apache-2.0", 17, "English, best for its speed"),
    Known("cross-encoder/ettin-reranker-32m-v1", "apache-2.0", 32, "English, better and slower"),
    Known("Alibaba-NLP/gte-reranker-modernbert-base", "apache-2.0", 150, "English, long documents"),
    Known("mixedbread-ai/mxbai-rerank-xsmall-v1", "apache-2.0", 71, "English"),
    Known("BAAI/bge-reranker-base", "mit", 278, "English and Chinese"),
    Known("BAAI/bge-reranker-v2-m3", "apache-2.0", 568, "a hundred languages"),
)


def licence_of(folder: Path) -> str | None:
    """Return the licence in the front matter of a model's README.md, None if it does not declare one."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    front_matter = re.match(r"---\s*\n(.*?)\n---", card, re.DOTALL)
    if not front_matter:
        return None
    declared = dict(re.findall(r"^(license|license_name):\s*[\"']?(.+?)[\"']?\s*$", front_matter.group(1), re.MULTILINE))
    return declared.get("license_name") or declared.get("license")

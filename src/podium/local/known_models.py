"""What a model may be used for, as its card says, and the cross-encoders that many people use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KNOWN", "Known", "licence_of"]


@dataclass(frozen=True, slots=True)
class Known:
    """A model on the hub: its licence, about how many million parameters it has, and what it is good for."""

    name: str
    licence: str
    millions: int
    good_for: str


# As their model cards say, November 2026. A model that is not here runs just as well.
KNOWN = (
    Known("cross-encoder/ms-marco-MiniLM-L6-v2", "apache-2.0", 23, "English, the usual choice"),
    Known("cross-encoder/ettin-reranker-17m-v1", "apache-2.0", 17, "English, best a second"),
    Known("cross-encoder/ettin-reranker-32m-v1", "apache-2.0", 32, "English, better, slower"),
    Known("Alibaba-NLP/gte-reranker-modernbert-base", "apache-2.0", 150, "English, long documents"),
    Known("mixedbread-ai/mxbai-rerank-xsmall-v1", "apache-2.0", 71, "English"),
    Known("BAAI/bge-reranker-base", "mit", 278, "English and Chinese"),
    Known("BAAI/bge-reranker-v2-m3", "apache-2.0", 568, "a hundred languages"),
)


def licence_of(folder: Path) -> str | None:
    """Return the licence that the README.md of a model's folder declares in its front matter, or None."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    front = re.match(r"---\s*\n(.*?)\n---", card, re.DOTALL)
    declared = (
        dict(re.findall(r"^(license|license_name):\s*[\"']?(.+?)[\"']?\s*$", front.group(1), re.MULTILINE)) if front else {}
    )
    return declared.get("license_name") or declared.get("license")

"""Recommended cross-encoders, and the licence that a model's card declares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KNOWN_MODELS", "KnownModel", "licence_of"]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model on the hub, described as on its card. `parameters` is the number of parameters, such as 23M for 23 million."""

    name: str
    licence: str
    parameters: str
    good_for: str


# As of November 2026. podium runs other models, too.
KNOWN_MODELS = (
    KnownModel("cross-encoder/ms-marco-MiniLM-L6-v2", "apache-2.0", "23M", "English, the usual choice"),
    KnownModel("cross-encoder/ettin-reranker-17m-v1", "apache-2.0", "17M", "English, the fastest"),
    KnownModel("cross-encoder/ettin-reranker-32m-v1", "apache-2.0", "32M", "English, more accurate and slower than the 17m"),
    KnownModel("Alibaba-NLP/gte-reranker-modernbert-base", "apache-2.0", "150M", "English, long documents"),
    KnownModel("mixedbread-ai/mxbai-rerank-xsmall-v1", "apache-2.0", "71M", "English"),
    KnownModel("BAAI/bge-reranker-base", "mit", "278M", "English and Chinese"),
    KnownModel("BAAI/bge-reranker-v2-m3", "apache-2.0", "568M", "a hundred languages"),
)


def licence_of(folder: Path) -> str | None:
    """Return the licence in the front matter of a model's README.md, None if it does not declare one."""
    try:
        readme = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    front_matter = re.match(r"---\s*\n(.*?)\n---", readme, re.DOTALL)
    if not front_matter:
        return None
    declared = dict(re.findall(r"^(license|license_name):\s*[\"']?(.+?)[\"']?\s*$", front_matter.group(1), re.MULTILINE))
    return declared.get("license_name") or declared.get("license")

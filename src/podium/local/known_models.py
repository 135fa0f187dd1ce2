"""Recommended models on the hub, and the licence that a model's card declares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from podium.regular_files import open_regular_file

__all__ = ["KNOWN_MODELS", "KnownModel", "licence_of"]

MAX_FRONT_MATTER_BYTES = 1 << 20  # the part of a README.md that is read; it may be of any size


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model on the hub, described as on its card.

    - `parameters`: the number of parameters, such as 23M for 23 million.
    - `max_length`: the most tokens of a query and a document together that podium reads. Language models also count the prompt.
    - `prompt`: the name of the prompt of a language model (see podium.local.decoders.prompt_families), None for other models.
    """

    name: str
    licence: str
    parameters: str
    max_length: int
    good_for: str
    prompt: str | None = None


# As of November 2026. podium runs other models, too.
KNOWN_MODELS = (
    KnownModel("cross-encoder/ms-marco-MiniLM-L6-v2", "apache-2.0", "23M", 512, "English, the usual choice"),
    KnownModel("cross-encoder/ettin-reranker-17m-v1", "apache-2.0", "17M", 7999, "English, the fastest"),
    KnownModel("cross-encoder/ettin-reranker-32m-v1", "apache-2.0", "32M", 7999, "English, better and slower than the 17m"),
    KnownModel("cross-encoder/ettin-reranker-150m-v1", "apache-2.0", "150M", 7999, "English, as good as Qwen3-Reranker-0.6B"),
    KnownModel("Alibaba-NLP/gte-reranker-modernbert-base", "apache-2.0", "150M", 8192, "English, long documents"),
    KnownModel("mixedbread-ai/mxbai-rerank-xsmall-v1", "apache-2.0", "71M", 512, "English"),
    KnownModel("BAAI/bge-reranker-base", "mit", "278M", 512, "English and Chinese"),
    KnownModel("BAAI/bge-reranker-v2-m3", "apache-2.0", "568M", 8192, "a hundred languages"),
    KnownModel(
        "Qwen/Qwen3-Reranker-0.6B", "apache-2.0", "0.6B", 8192, "instructions, a hundred languages, code", "qwen3-reranker"
    ),
    KnownModel("Qwen/Qwen3-Reranker-4B", "apache-2.0", "4B", 8192, "the most accurate, slow on a CPU", "qwen3-reranker"),
    KnownModel("mixedbread-ai/mxbai-rerank-base-v2", "apache-2.0", "0.5B", 8192, "many languages, code", "mxbai-rerank-v2"),
    KnownModel(
        "mixedbread-ai/mxbai-rerank-large-v2", "apache-2.0", "1.5B", 8192, "more accurate than base-v2", "mxbai-rerank-v2"
    ),
    KnownModel("zeroentropy/zerank-1-small", "apache-2.0", "1.7B", 32_768, "English, instructions", "zerank"),
    KnownModel("BAAI/bge-reranker-v2-gemma", "apache-2.0", "2.5B", 512, "many languages", "bge-reranker-v2-gemma"),
)


def licence_of(folder: Path) -> str | None:
    """Return the licence in the front matter of a model's README.md, None if it does not declare one."""
    try:
        with open_regular_file(folder / "README.md") as file:
            lines = file.read(MAX_FRONT_MATTER_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    if not lines or lines[0].rstrip() != "---":
        return None
    declared: dict[str, str] = {}
    for line in lines[1:]:
        if line.startswith("---"):
            return declared.get("license_name") or declared.get("license") or None
        key, _, value = line.partition(":")
        declared[key] = value.strip().strip("\"'")
    return None

"""The prompts of language models that were published as rerankers, from the code that their authors published with them.

They are used for a model's original repository, and for conversions to a classifier, which have no prompt in their files. A
model's own chat template takes precedence if it has the roles query and document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from podium.local.decoders.prompts import Prompt, piece
from podium.local.spec import IDENTITY, SIGMOID, Activation

__all__ = ["PROMPT_FAMILIES", "PromptFamily", "prompt_family_of"]

THREE_QUARTERS = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFamily:
    """Models that were trained with the same prompt.

    - `models`: patterns of the last part of the models' names, in lower case.
    - `model_types`: the values of model_type in config.json of these models.
    - `true_token`, `false_token`: the tokens whose logits are compared after the prompt, as text, or as an id if a model uses a
      token without regard to its text. Without a false token, the score is the logit of the true token. Conversions to a
      classifier do not use them.
    - `activation`: from the logit to the score that the authors' code returns.
    - `max_length`: how many tokens the authors' code reads. See `Piece.allowance` and `Prompt.query_share`.
    - `source`: where the authors' code is.
    """

    models: tuple[str, ...]
    model_types: tuple[str, ...]
    prompt: Prompt
    true_token: str | int | None
    false_token: str | None = None
    activation: Activation
    max_length: int
    source: str

    @property
    def name(self) -> str:
        return self.prompt.name


QWEN3_DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
MXBAI_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document pair, "
    "carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
    "(0 for not relevant, 1 for relevant).\nRelevance:"
)
MXBAI_START = piece(
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    allowance=1,
)
MXBAI_END = (
    piece("\n"),
    piece("document: {document}"),
    piece("\n", allowance=1),
    piece(MXBAI_TASK, allowance=1),
    piece("<|im_end|>\n<|im_start|>assistant\n", allowance=1),
)
CTXL = (
    "Check whether a given document contains information helpful to answer the query.\n<Document> {document}\n<Query> {query}"
)
ZERANK_START = "<|im_start|>system\n"
ZERANK_END = "<|im_end|>\n<|im_start|>user\n{document:strip}<|im_end|>\n<|im_start|>assistant\n"
BGE_TASK = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a prediction "
    "of either 'Yes' or 'No'."
)

PROMPT_FAMILIES = (
    PromptFamily(
        models=("qwen3-reranker-*",),
        model_types=("qwen3",),
        prompt=Prompt(
            name="qwen3-reranker",
            plain=None,
            instructed=(
                piece(
                    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
                    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
                ),
                piece("<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"),
                piece("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"),
            ),
            default_instruction=QWEN3_DEFAULT_INSTRUCTION,
        ),
        true_token="yes",  # noqa: S106  tokens of the vocabulary
        false_token="no",  # noqa: S106
        activation=SIGMOID,
        max_length=8192,
        source="README of QwenLM/Qwen3-Embedding, the snippet for transformers",
    ),
    PromptFamily(
        models=("mxbai-rerank-base-v2*", "mxbai-rerank-large-v2*"),
        model_types=("qwen2",),
        prompt=Prompt(
            name="mxbai-rerank-v2",
            plain=(MXBAI_START, piece("query: {query}"), *MXBAI_END),
            instructed=(MXBAI_START, piece("instruction: {instruction}\nquery: {query}"), *MXBAI_END),
            query_share=THREE_QUARTERS,
        ),
        true_token="1",  # noqa: S106
        false_token="0",  # noqa: S106
        activation=IDENTITY,
        max_length=8192,
        source="mixedbread-ai/mxbai-rerank, mxbai_rerank/mxbai_rerank_v2.py",
    ),
    PromptFamily(
        models=("zerank-*",),
        model_types=("qwen3",),
        prompt=Prompt(
            name="zerank",
            plain=(piece(ZERANK_START + "{query:strip}" + ZERANK_END),),
            instructed=(
                piece(f"{ZERANK_START}<query>{{query}}</query>\n<instruction>{{instruction}}</instruction>{ZERANK_END}"),
            ),
        ),
        true_token="Yes",  # noqa: S106
        activation=IDENTITY,
        max_length=32_768,
        source="zeroentropy/zerank-2, modeling_zeranker.py and its model card",
    ),
    PromptFamily(
        models=("ctxl-rerank-v2-*",),
        model_types=("qwen3",),
        prompt=Prompt(
            name="ctxl-rerank-v2",
            plain=(piece(f"{CTXL} ??"),),
            instructed=(piece(f"{CTXL} {{instruction}} ??"),),
        ),
        true_token=0,
        activation=IDENTITY,
        max_length=32_768,
        source="model card of ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b",
    ),
    PromptFamily(
        models=("bge-reranker-v2-gemma*",),
        model_types=("gemma",),
        prompt=Prompt(
            name="bge-reranker-v2-gemma",
            plain=(
                piece("A: {query}"),
                piece("\n"),
                piece("B: {document}"),
                piece("\n", allowance=2),
                piece(BGE_TASK, allowance=2),
            ),
            begins_with_bos=True,
            query_share=THREE_QUARTERS,
            document_share=1.0,
        ),
        true_token="Yes",  # noqa: S106
        activation=IDENTITY,
        max_length=512,
        source="FlagOpen/FlagEmbedding, FlagEmbedding/inference/reranker/decoder_only/base.py",
    ),
    PromptFamily(
        models=("llama-nemotron-rerank-1b-v2*", "llama-3.2-nv-rerankqa-1b-v2*"),
        model_types=("llama_bidirec",),
        prompt=Prompt(
            name="nemotron-rerank",
            plain=(piece("question:{query} \n \n passage:{document}"),),
            begins_with_bos=True,
        ),
        true_token=None,
        activation=IDENTITY,
        max_length=8192,
        source="model card of nvidia/llama-nemotron-rerank-1b-v2",
    ),
)


def prompt_family_of(
    name: str, folder: Path, declared: str | None, families: Sequence[PromptFamily] = PROMPT_FAMILIES
) -> PromptFamily | None:
    """Return the prompt family of a model, None if it is not known.

    - `name`: the model's name as the user wrote it. The name of its folder is tried, too, also in the cache of the hub.
    - `declared`: the name of a prompt family that the model's config.json declares, None if it declares none.
    """
    if declared is not None:
        return next((family for family in families if family.name == declared), None)
    last_parts = {last_part.lower() for last_part in _last_parts([Path(name), folder, folder.resolve()])}
    for family in families:
        if any(fnmatchcase(last_part, pattern) for pattern in family.models for last_part in last_parts):
            return family
    return None


def _last_parts(paths: Iterable[Path]) -> Iterable[str]:
    """Yield the names that a model with these paths may have. The hub's cache has folders such as models--org--name."""
    for path in paths:
        yield path.name
        yield from (match[1] for part in path.parts if (match := re.fullmatch(r"models--.+--(.+)", part)))

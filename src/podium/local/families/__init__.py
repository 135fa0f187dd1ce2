"""The model families, in the order of the table in docs/models.md. To add one, add its module to this list."""

from podium.local.families import (
    bert,
    deberta,
    distilbert,
    electra,
    gemma,
    late,
    llama,
    llama_bidirectional,
    modernbert,
    qwen2,
    qwen3,
    roberta,
)

__all__ = ["FAMILIES"]

FAMILIES = tuple(
    module.FAMILY
    for module in (
        *(bert, electra, roberta, distilbert, deberta, modernbert),
        *(qwen3, qwen2, llama, llama_bidirectional, gemma),
        late,
    )
)

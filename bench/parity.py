"""Compare podium's logits with sentence-transformers', for random models as large as MiniLM-L6, XLM-R-base and DeBERTa-v3-base.

    .bench/reference/bin/python bench/parity.py write && .venv/dev/bin/python bench/parity.py compare

The first command runs in an environment that `make bench` creates. It writes random checkpoints (2 GB) under .bench/, and the
logits that sentence-transformers computes with them. The second command compares podium's logits with those. The texts have
lengths from a few tokens to more than the maximum.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / ".bench" / "parity"
SMALL_MODELS = ROOT / "tests" / "parity"
WORDS = (SMALL_MODELS / "words.txt").read_text(encoding="utf-8").split()
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
# The name of a model → the small model in tests/parity whose config and tokenizer it gets, and the settings that it changes.
SHAPES = {
    "minilm-l6": ("bert", BASE | {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}),
    "xlm-r-base": ("xlm-roberta-bfloat16", BASE),
    "deberta-v3-base": ("deberta-v3", BASE | {"pooler_hidden_size": 768, "position_buckets": 256}),
}
POSITIONS = {"bert": 512, "xlm-roberta": 514, "deberta-v2": 512}
"""The numbers of position embeddings, by model_type. XLM-R does not use the first two, so all read 512 tokens."""


def pairs() -> list[tuple[str, str]]:
    """Return pairs of a query and a text of random words."""
    generator = random.Random(3)
    text_lengths = [1, 2, 5, 20, 40, 83, 120, 200, 310, 400, 505, 600, 900]
    random_pairs = []
    for length in text_lengths:
        query_words = generator.choices(WORDS, k=generator.randint(1, 12))
        text_words = generator.choices(WORDS, k=length)
        random_pairs.append((" ".join(query_words), " ".join(text_words)))
    return random_pairs


def write() -> None:
    """Write the checkpoints and the logits of sentence-transformers."""
    import torch
    from sentence_transformers import CrossEncoder

    for name, (small_model, shape) in SHAPES.items():
        folder = OUTPUT / name
        write_checkpoint(folder, SMALL_MODELS / small_model, shape)
        reference = CrossEncoder(str(folder), device="cpu")
        logits = [reference.predict([pair], activation_fn=torch.nn.Identity()).item() for pair in pairs()]
        (folder / "logits.json").write_text(json.dumps(logits))
        print(name, "written")


def write_checkpoint(folder: Path, source: Path, shape: dict[str, int]) -> None:
    """Write a random checkpoint with the config and the tokenizer of the folder `source`, but with another shape."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = json.loads((source / "config.json").read_text()) | shape
    settings |= {"dtype": "float32", "max_position_embeddings": POSITIONS[settings["model_type"]]}
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(transformers.AutoConfig.for_model(**settings))
    with torch.no_grad():
        # Random parameters get about the spread of trained ones, so that different texts get clearly different logits.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2.0)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    shutil.copy(source / "tokenizer.json", folder)
    tokenizer_settings = json.loads((source / "tokenizer_config.json").read_text()) | {"model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_settings))


def compare() -> None:
    """Print the largest difference of a logit for every model and runtime."""
    import podium
    from podium.local.build import variants_for
    from podium.local.spec import read_spec

    for name in SHAPES:
        expected = json.loads((OUTPUT / name / "logits.json").read_text())
        title = f"{name:16s} {len(expected)} pairs, logits from {min(expected):+.2f} to {max(expected):+.2f}: max |Δ|"
        for variant in variants_for(read_spec(OUTPUT / name)):
            with podium.load(OUTPUT / name, runtime=variant.runtime) as reranker:
                logits = [reranker.scorer.score(query, [text]).raw[0] for query, text in pairs()]
            difference = max(abs(logit - other) for logit, other in zip(logits, expected, strict=True))
            print(f"{title} {difference:.1e} ({variant.runtime})")


if __name__ == "__main__":
    {"write": write, "compare": compare}[sys.argv[1]]()

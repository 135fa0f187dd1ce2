"""Make ColBERT models of two published shapes, in PyLate's layout, which all contenders read. Needs PyTorch.

    python export_late.py FOLDER VOCABULARY

`small` has the shape of podium-mini (MiniLM-L6), `modernbert` that of GTE-ModernColBERT-v1, both with 128 numbers per token.
The weights are random, because speed does not depend on them. The vocabulary is that of podium-mini.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from export import TOKENS
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel

DIMENSIONS = 128
MODULES = {"": "sentence_transformers.models.Transformer", "1_Dense": "pylate.models.Dense.Dense"}
SETTINGS = {
    "model_type": "ColBERT", "similarity_fn_name": "MaxSim", "query_prefix": "[Q] ", "document_prefix": "[D] ",
    "query_length": 32, "document_length": 512, "do_query_expansion": False, "attend_to_expansion_tokens": False,
    "skiplist_words": [],
}  # fmt: skip


def backbones(size: int) -> dict[str, Any]:
    """Return the transformers for a vocabulary of `size` pieces."""
    torch.manual_seed(0)
    small = BertConfig(vocab_size=size, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    special = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    return {
        "small": BertModel(small, add_pooling_layer=False),
        "modernbert": ModernBertModel(ModernBertConfig(vocab_size=size, **special)),
    }


def write(folder: Path, backbone: Any, tokenizer: Tokenizer, settings: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    with torch.no_grad():
        for weight in backbone.parameters():  # the spread of a trained model, so that scores differ
            weight.mul_(2.0)
    backbone.half().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    write_json(folder / "tokenizer_config.json", settings | TOKENS)
    (folder / "1_Dense").mkdir()
    width = backbone.config.hidden_size
    save_file({"linear.weight": torch.randn(DIMENSIONS, width).half() / width**0.5}, folder / "1_Dense" / "model.safetensors")
    activation = "torch.nn.modules.linear.Identity"
    sizes = {"in_features": width, "out_features": DIMENSIONS}
    write_json(folder / "1_Dense" / "config.json", {**sizes, "bias": False, "activation_function": activation})
    entries = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(MODULES.items())]
    write_json(folder / "modules.json", entries)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 511, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", SETTINGS)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def main(folder: Path, vocabulary: Path) -> None:
    tokenizer = Tokenizer.from_file(str(vocabulary / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.add_tokens([AddedToken(marker, normalized=True) for marker in ("[Q] ", "[D] ")])
    settings = json.loads((vocabulary / "tokenizer_config.json").read_text(encoding="utf-8"))
    for name, backbone in backbones(tokenizer.get_vocab_size()).items():
        shutil.rmtree(folder / name, ignore_errors=True)
        write(folder / name, backbone, tokenizer, settings)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

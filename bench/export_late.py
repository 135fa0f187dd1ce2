"""Write ColBERT models of two published shapes, in PyLate's layout, which all contenders can read. Needs PyTorch.

    python export_late.py FOLDER TOKENIZER_FOLDER

FOLDER/small has the shape of podium-mini (MiniLM-L6), and FOLDER/modernbert that of GTE-ModernColBERT-v1; both have 128 numbers
per token. Folders of these names are replaced. TOKENIZER_FOLDER is the folder of podium-mini, whose tokenizer both models get.
The weights are random, because speed does not depend on them.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from export import SPECIAL_TOKENS
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel

DIMENSIONS = 128
MODULES = {"": "sentence_transformers.models.Transformer", "1_Dense": "pylate.models.Dense.Dense"}
COLBERT_SETTINGS = {
    "model_type": "ColBERT", "similarity_fn_name": "MaxSim", "query_prefix": "[Q] ", "document_prefix": "[D] ",
    "query_length": 32, "document_length": 512, "do_query_expansion": False, "attend_to_expansion_tokens": False,
    "skiplist_words": [],
}  # fmt: skip


def small_bert(vocabulary_size: int) -> BertModel:
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    return BertModel(BertConfig(vocab_size=vocabulary_size, **shape), add_pooling_layer=False)


def modern_bert(vocabulary_size: int) -> ModernBertModel:
    # ModernBERT's default ids are beyond the end of this vocabulary. The ids are not used: the tokenizer has its own.
    special_ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    return ModernBertModel(ModernBertConfig(vocab_size=vocabulary_size, **special_ids))


def double_weights(model: torch.nn.Module) -> None:
    """Give the random weights about the spread of trained ones, so that the scores of texts differ."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0)


def write_model(folder: Path, backbone: Any, tokenizer: Tokenizer, tokenizer_settings: dict[str, Any]) -> None:
    """Write a ColBERT model with this transformer and a random projection."""
    folder.mkdir(parents=True)
    backbone.half().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    write_json(folder / "tokenizer_config.json", tokenizer_settings | SPECIAL_TOKENS)
    (folder / "1_Dense").mkdir()
    width = backbone.config.hidden_size
    save_file({"linear.weight": torch.randn(DIMENSIONS, width).half() / width**0.5}, folder / "1_Dense" / "model.safetensors")
    activation = "torch.nn.modules.linear.Identity"
    sizes = {"in_features": width, "out_features": DIMENSIONS}
    write_json(folder / "1_Dense" / "config.json", {**sizes, "bias": False, "activation_function": activation})
    entries = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(MODULES.items())]
    write_json(folder / "modules.json", entries)
    # One token less than document_length, because PyLate inserts the marker after truncating.
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 511, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", COLBERT_SETTINGS)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def main(folder: Path, tokenizer_folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.add_tokens([AddedToken(marker, normalized=True) for marker in ("[Q] ", "[D] ")])
    tokenizer_settings = json.loads((tokenizer_folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    vocabulary_size = tokenizer.get_vocab_size()
    torch.manual_seed(0)
    for name, backbone in (("small", small_bert(vocabulary_size)), ("modernbert", modern_bert(vocabulary_size))):
        double_weights(backbone)
        shutil.rmtree(folder / name, ignore_errors=True)
        write_model(folder / name, backbone, tokenizer, tokenizer_settings)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

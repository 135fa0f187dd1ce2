"""Make a cross-encoder of MiniLM-L6's shape, and bring it into the forms that other contenders run.

Those are an ONNX export in float32, made in the environment that has PyTorch, and its int8 for FlashRank, made in one
that has onnxruntime. Speed does not depend on what weights say: they are random, the vocabulary is podium-mini's.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

TOKENS = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json")


def make(folder: Path, vocabulary: Path) -> None:
    """Write the checkpoint, and the tokenizer with BERT's own template for pairs."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    model = BertForSequenceClassification(BertConfig(**shape, num_labels=1))
    model.config.sentence_transformers = {"activation_fn": "torch.nn.modules.activation.Sigmoid"}
    with torch.no_grad():
        for weight in model.parameters():  # spread as a trained model's, so that differences of scores mean something
            weight.mul_(2.0)
    model.half().save_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(vocabulary / "tokenizer.json"))
    special = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    template = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair=template, special_tokens=special)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    shutil.copy(vocabulary / "tokenizer_config.json", folder)


def export(folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.ones((2, 8), dtype=torch.int64)
    mask = ids.clone()
    mask[1, 5:] = 0  # a mask of ones alone would be left out of the export, and padding would count
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids - 1}
    batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=4, max=512)
    to = folder / "exported" / "onnx" / "model.onnx"
    to.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        model,
        kwargs=inputs,
        f=str(to),
        dynamo=True,
        dynamic_shapes={name: {0: batch, 1: length} for name in inputs},
        input_names=list(inputs),
        output_names=["logits"],
        external_data=False,
    )
    describe(folder, folder / "exported")


def quantise(folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    to = folder / "flashrank" / "ms-marco-MiniLM-L-12-v2"
    to.mkdir(parents=True, exist_ok=True)
    source, file = folder / "exported" / "onnx" / "model.onnx", to / "flashrank-MiniLM-L-12-v2_Q.onnx"
    quantize_dynamic(source, file, weight_type=QuantType.QInt8, per_channel=True)
    describe(folder, to)


def describe(folder: Path, to: Path) -> None:
    for name in COPIED:
        shutil.copy(folder / name, to / name)
    (to / "special_tokens_map.json").write_text(json.dumps(TOKENS), encoding="utf-8")


if __name__ == "__main__":
    to = Path(sys.argv[1])
    if "--int8" in sys.argv:
        quantise(to)
    else:
        make(to, Path(sys.argv[2]))
        export(to)

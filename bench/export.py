"""Bring the model into the forms that other contenders run: an ONNX export in float32, and its int8 for FlashRank.

The first is made in the environment that has PyTorch, the second in one that has onnxruntime.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

TOKENS = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json")


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
    (quantise if "--int8" in sys.argv else export)(Path(sys.argv[1]))

"""Make a cross-encoder of MiniLM-L6's shape, and bring it into the forms that other contenders run.

    python export.py FOLDER VOCABULARY          the checkpoint, ONNX and CTranslate2, where PyTorch is
    python export.py FOLDER --int8              ONNX in int8 for FlashRank, where onnxruntime is
    python export.py FOLDER --openvino          OpenVINO's own format, and its int8 by NNCF, where these are

Speed does not depend on what weights say: they are random, the vocabulary is podium-mini's.
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
    settings = json.loads((vocabulary / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | TOKENS), encoding="utf-8")


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


def convert(folder: Path) -> None:
    """Write the encoder for CTranslate2, which has no classifiers, and the classifier beside it."""
    import numpy as np
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    model.bert.config.position_embedding_type = "absolute"  # which transformers 5 leaves out and CTranslate2 asks for
    model.bert.save_pretrained(folder / "encoder")
    for name in COPIED[1:]:
        shutil.copy(folder / name, folder / "encoder" / name)
    TransformersConverter(str(folder / "encoder")).convert(str(folder / "ctranslate2"), force=True)
    head = {"weight": model.classifier.weight.detach().numpy(), "bias": model.classifier.bias.detach().numpy()}
    np.savez(folder / "ctranslate2" / "classifier.npz", **head)


def compress(folder: Path) -> None:
    """Write OpenVINO's form in float32, and in int8 with activations measured on texts like those of the benchmark."""
    import nncf
    import numpy as np
    import openvino
    import work
    from tokenizers import Tokenizer

    model = openvino.convert_model(folder / "exported" / "onnx" / "model.onnx")
    openvino.save_model(model, folder / "openvino" / "float32.xml", compress_to_fp16=False)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def inputs(text: str) -> dict[str, np.ndarray]:
        encoded = tokenizer.encode(work.QUERY, text)
        ids, segments = np.array([encoded.ids]), np.array([encoded.type_ids])
        return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": segments}

    texts = nncf.Dataset([inputs(text) for text in work.passages("short")])
    whole = nncf.quantize(model, texts, model_type=nncf.ModelType.TRANSFORMER, subset_size=100)
    openvino.save_model(whole, folder / "openvino" / "int8.xml", compress_to_fp16=False)


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
    elif "--openvino" in sys.argv:
        compress(to)
    else:
        make(to, Path(sys.argv[2]))
        export(to)
        convert(to)

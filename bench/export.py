"""Write a cross-encoder of MiniLM-L6's shape, and convert it to the formats that the other contenders run.

    python export.py FOLDER TOKENIZER_FOLDER    the checkpoint, ONNX and CTranslate2; needs PyTorch
    python export.py FOLDER --int8              ONNX in int8 for FlashRank; needs onnxruntime
    python export.py FOLDER --openvino          OpenVINO in float32, and in int8 by NNCF; needs openvino and nncf

Everything is written into FOLDER. TOKENIZER_FOLDER is the folder of podium-mini, whose tokenizer the model gets. The weights
are random, because speed does not depend on them.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

SPECIAL_TOKENS = {
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
}
DESCRIPTIONS = ("config.json", "tokenizer.json", "tokenizer_config.json")


def write_checkpoint(folder: Path, tokenizer_folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    model = BertForSequenceClassification(BertConfig(**shape, num_labels=1))
    model.config.sentence_transformers = {"activation_fn": "torch.nn.modules.activation.Sigmoid"}
    with torch.no_grad():
        # Random weights get about the spread of trained ones, so that the scores of texts differ.
        for weight in model.parameters():
            weight.mul_(2.0)
    model.half().save_pretrained(folder)
    write_tokenizer(folder, tokenizer_folder)


def write_tokenizer(folder: Path, tokenizer_folder: Path) -> None:
    """Write the tokenizer with BERT's template for pairs, which podium-mini's tokenizer does not have."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    special_token_ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    template = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair=template, special_tokens=special_token_ids)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = json.loads((tokenizer_folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | SPECIAL_TOKENS), encoding="utf-8")


def write_onnx(folder: Path) -> None:
    """Write ONNX in float32, with any number of texts of any length."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.ones((2, 8), dtype=torch.int64)
    mask = ids.clone()
    mask[1, 5:] = 0  # With a mask of ones only, the exporter would leave the mask out, and padding would be read.
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids - 1}
    batch = torch.export.Dim("batch", min=1, max=4096)
    length = torch.export.Dim("length", min=4, max=512)
    file = folder / "exported" / "onnx" / "model.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        model,
        kwargs=inputs,
        f=str(file),
        dynamo=True,
        dynamic_shapes={name: {0: batch, 1: length} for name in inputs},
        input_names=list(inputs),
        output_names=["logits"],
        external_data=False,
    )
    copy_descriptions(folder, folder / "exported")


def write_ctranslate2(folder: Path) -> None:
    """Write the encoder for CTranslate2, and the classifier as a separate file, because CTranslate2 has no classifiers."""
    import numpy as np
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    model.bert.config.position_embedding_type = "absolute"  # CTranslate2 needs it, and transformers 5 does not write it.
    model.bert.save_pretrained(folder / "encoder")
    for name in DESCRIPTIONS[1:]:
        shutil.copy(folder / name, folder / "encoder" / name)
    TransformersConverter(str(folder / "encoder")).convert(str(folder / "ctranslate2"), force=True)
    head = {"weight": model.classifier.weight.detach().numpy(), "bias": model.classifier.bias.detach().numpy()}
    np.savez(folder / "ctranslate2" / "classifier.npz", **head)


def write_openvino(folder: Path) -> None:
    """Write OpenVINO's format in float32, and in int8 with activations calibrated on texts like those of the benchmark."""
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
        ids = np.array([encoded.ids])
        return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.array([encoded.type_ids])}

    calibration_inputs = nncf.Dataset([inputs(text) for text in work.passages("short")])
    quantised = nncf.quantize(model, calibration_inputs, model_type=nncf.ModelType.TRANSFORMER, subset_size=100)
    openvino.save_model(quantised, folder / "openvino" / "int8.xml", compress_to_fp16=False)


def write_int8(folder: Path) -> None:
    """Write ONNX in int8, under the name of the most similar model in FlashRank's list, because FlashRank runs no others."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = folder / "flashrank" / "ms-marco-MiniLM-L-12-v2"
    target.mkdir(parents=True, exist_ok=True)
    source = folder / "exported" / "onnx" / "model.onnx"
    quantised = target / "flashrank-MiniLM-L-12-v2_Q.onnx"
    quantize_dynamic(source, quantised, weight_type=QuantType.QInt8, per_channel=True)
    copy_descriptions(folder, target)


def copy_descriptions(folder: Path, target: Path) -> None:
    """Copy the configuration and the tokenizer from `folder` to `target`."""
    for name in DESCRIPTIONS:
        shutil.copy(folder / name, target / name)
    (target / "special_tokens_map.json").write_text(json.dumps(SPECIAL_TOKENS), encoding="utf-8")


def main() -> None:
    folder = Path(sys.argv[1])
    if "--int8" in sys.argv:
        write_int8(folder)
    elif "--openvino" in sys.argv:
        write_openvino(folder)
    else:
        write_checkpoint(folder, Path(sys.argv[2]))
        write_onnx(folder)
        write_ctranslate2(folder)


if __name__ == "__main__":
    main()

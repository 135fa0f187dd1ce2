"""Write the trained weights as a folder that podium loads.

    python training/multi/export.py --work WORK --base BASE --out FOLDER [--share 0.5]

The upper layers are averaged with those of the base (Wortsman et al. 2022, arXiv 2109.01903): with `--share 0` they are those
of the base, with `--share 1` the trained ones. Weights are stored as float16, tables as float32.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import data
import numpy as np
import tables
import torch
from hidden import FROZEN_LAYERS, QUERY_PROMPT, TEXT_PROMPT
from model import K1, USUAL_TOKENS, B
from safetensors.numpy import load_file, save_file

SHAPE = (
    *("hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings"),
    *("num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size", "pad_token_id"),
)
COEFFICIENTS = (1.0, 1.0, 0.04, 0.0)  # of cosine, matches, words and runs, as choose.py found them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5, help="of the trained weights")
    parser.add_argument("--coefficients", type=float, nargs=4, default=COEFFICIENTS, help="of cosine, matches, words and runs")
    parser.add_argument("--scale", type=float, default=17.09, help="scale of the logit")
    parser.add_argument("--offset", type=float, default=-28.40)
    arguments = parser.parse_args()
    state = torch.load(arguments.work / "kept.pt", weights_only=True)["model"]
    trained = {name: tensor.float().numpy() for name, tensor in state.items()}
    config = json.loads((arguments.base / "config.json").read_text())
    pairs = data.Pairs(**json.loads((arguments.work / "pairs.json").read_text()))
    tensors = averaged(load_file(arguments.base / "model.safetensors"), trained, arguments.share)
    tensors |= heads(trained, np.float32(arguments.scale) * np.array(arguments.coefficients, np.float32), arguments.offset)
    tensors |= table_tensors(tables.make(arguments.base, pairs.passages, config["vocab_size"]))
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "model.safetensors"
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, file)
    file.chmod(0o644)
    (arguments.out / "config.json").write_text(json.dumps(description(config), indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(arguments.base / name, arguments.out / name)


def averaged(base: dict[str, np.ndarray], trained: dict[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """Return the encoder's weights: those of the base, with the trained share of the upper layers."""
    tensors = {f"bert.{name}": tensor.astype(np.float16) for name, tensor in base.items()}
    for name, tensor in trained.items():
        if name.startswith("layers."):
            layer, rest = name.removeprefix("layers.").split(".", 1)
            full_name = f"bert.encoder.layer.{int(layer) + FROZEN_LAYERS}.{rest}"
            mixed = (1 - share) * tensors[full_name].astype(np.float32) + share * tensor
            tensors[full_name] = mixed.astype(np.float16)
    return tensors


def heads(trained: dict[str, np.ndarray], coefficients: np.ndarray, offset: float) -> dict[str, np.ndarray]:
    """Return the weights after the encoder. The logit is the sum of the comparisons times `coefficients`, plus `offset`."""
    return {
        "late.projection.weight": trained["projection.weight"].astype(np.float16),
        "late.importance.weight": trained["importance.weight"],
        "late.importance.bias": trained["importance.bias"],
        "late.classifier.weight": coefficients[None],
        "late.classifier.bias": np.array([offset], np.float32),
    }


def table_tensors(token_tables: tables.Tables) -> dict[str, np.ndarray]:
    return {
        "late.token_importance": token_tables.importance,
        "late.token_idf": token_tables.idf,
        "late.token_piece_idf": token_tables.idf * token_tables.is_piece,
        "late.token_stem": token_tables.stem.astype(np.float32),
    }


def description(config: dict[str, object]) -> dict[str, object]:
    """Return the contents of config.json, for a base with this config.json."""
    result: dict[str, object] = {"model_type": "podium-late", "architectures": ["LateInteraction"]}
    result |= {name: config[name] for name in SHAPE}
    result |= {"bm25_k1": K1, "bm25_b": B, "bm25_text_tokens": USUAL_TOKENS}
    result |= {"query_prompt": QUERY_PROMPT, "text_prompt": TEXT_PROMPT}
    result |= {"podium": {"precision": "int8"}}
    return result | {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}


if __name__ == "__main__":
    main()

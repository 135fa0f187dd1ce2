"""Write the trained weights as a folder that podium loads.

    python training/export.py --work FOLDER --parent FOLDER --out FOLDER --share 0.5

The weights are averaged with those of the parent (Wortsman et al. 2022, arXiv 2109.01903): with `--share 0` they are those of
the parent, with `--share 1` those of the trained model. Weights are stored as float16, tables as float32.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from model import K1, USUAL_TOKENS, B, Late, token_importance
from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing

TEMPLATE = "[CLS]:0 $A:0 [SEP]:0 [CLS]:1 $B:1 [SEP]:1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--parent", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument(
        "--weights", type=float, nargs=4, default=(1.0, 1.5, 0.3, 3.0), help="weights of cosine, matches, words and runs"
    )
    parser.add_argument("--scale", type=float, default=2.05, help="scale of the logit")
    parser.add_argument("--offset", type=float, default=-3.09)
    arguments = parser.parse_args()
    parent = Late(arguments.parent)
    trained = Late(arguments.parent)
    trained.load_state_dict(torch.load(arguments.work / "kept.pt", weights_only=True)["model"])
    write(
        averaged(parent, trained, arguments.share),
        arguments.out,
        torch.tensor(arguments.weights) * arguments.scale,
        arguments.offset,
    )


def averaged(parent: Late, trained: Late, share: float) -> Late:
    """Replace the trained model's weights with averages of its own and the parent's, and return the trained model."""
    parent_weights = dict(parent.named_parameters())
    with torch.no_grad():
        for name, weight in trained.named_parameters():
            weight.copy_(torch.lerp(parent_weights[name], weight, share))
    return trained


def write(model: Late, out: Path, weights: torch.Tensor, offset: float, max_length: int = 512) -> None:
    """Write the folder. The logit is the sum of the four comparisons times `weights`, plus `offset`."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"bert.{name}": tensor.half() for name, tensor in model.encoder.state_dict().items() if "position_ids" not in name
    }
    tensors |= {
        "late.importance.weight": model.importance.weight,
        "late.importance.bias": model.importance.bias,
        "late.token_importance": token_importance(model.idf),
        "late.token_idf": model.idf,
        "late.token_piece_idf": model.idf * model.piece,
        "late.token_stem": model.stem.float(),
        "late.projection.weight": torch.eye(model.encoder.config.hidden_size, dtype=torch.float16),  # project.py replaces it
        "late.classifier.weight": weights[None],
        "late.classifier.bias": torch.tensor([offset]),
    }
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, out / "model.safetensors")
    (out / "model.safetensors").chmod(0o644)
    config = model.encoder.config
    shape = ("hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings")
    shape += ("num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size")
    description = {"model_type": "podium-late", "architectures": ["LateInteraction"]} | {
        name: getattr(config, name) for name in shape
    }
    description |= {"bm25_k1": K1, "bm25_b": B, "bm25_text_tokens": USUAL_TOKENS}
    description |= {"podium": {"precision": "int8"}}
    description |= {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}
    (out / "config.json").write_text(json.dumps(description, indent=2) + "\n")
    _write_tokenizer(model.tokenizer, out, max_length)


def _write_tokenizer(tokenizer, out: Path, max_length: int) -> None:
    """Write the parent's tokenizer, changed so that a pair is encoded as two texts, each with [CLS] and [SEP]."""
    backend = tokenizer.backend_tokenizer
    special_token_ids = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair=TEMPLATE, special_tokens=special_token_ids)
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(out / "tokenizer.json"), pretty=False)
    settings = {"tokenizer_class": "BertTokenizer", "model_max_length": max_length, "do_lower_case": True}
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


if __name__ == "__main__":
    main()

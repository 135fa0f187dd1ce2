"""Make the parity fixtures of decoders: tiny random checkpoints of every architecture, and the logits of transformers.

    python -m venv reference && reference/bin/pip install torch sentence-transformers==6.2.0
    reference/bin/python tests/parity/make_decoders.py [name …]

The folders in `tests/parity/decoders/` have no tokenizer: the texts are token ids. The logits are those of the last token, for
the tokens in `output_rows`, or of the classifier.
"""

import json
import random
import sys

import torch
import transformers as hf
from make import HERE, make_folder, randomised, write_expected

FOLDER = HERE / "decoders"
OUTPUT_ROWS = (7, 9)
VOCABULARY = 200
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "intermediate_size": 72,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def decoder(config_class, model_class, *, dtype=torch.float32, shards=False, norm_offset=0.0, **settings):
    """Return a function that writes a checkpoint and returns the model in float32."""

    def write(folder):
        model = randomised(model_class(config_class(**(SIZE | settings))), 41)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name.endswith("norm.weight"):
                    weight -= norm_offset
        model.to(dtype).save_pretrained(folder, **({"max_shard_size": "40KB"} if shards else {}))
        (folder / "generation_config.json").unlink(missing_ok=True)
        # `to` has also rounded the rotary frequencies, so the model is read again.
        return model_class.from_pretrained(folder, dtype=torch.float32).eval()

    return write


def bidirectional(folder):
    """Write a checkpoint in the layout of nvidia/llama-nemotron-rerank-1b-v2."""
    model = decoder(hf.LlamaConfig, hf.LlamaForSequenceClassification, num_key_value_heads=2, num_labels=1)(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "llama_bidirec", "architectures": ["LlamaBidirectionalForSequenceClassification"]}
    config |= {"pooling": "avg", "temperature": 1.0, "auto_map": {"AutoConfig": "llama_bidirectional_model.Config"}}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return model


def decoders():
    causal = {"qwen3": hf.Qwen3ForCausalLM, "qwen2": hf.Qwen2ForCausalLM, "llama": hf.LlamaForCausalLM}
    qwen3_classifier = {"model_class": hf.Qwen3ForSequenceClassification, "num_labels": 1, "num_key_value_heads": 2}
    return {
        "qwen3": decoder(hf.Qwen3Config, causal["qwen3"], num_key_value_heads=2, head_dim=16, tie_word_embeddings=True),
        "qwen3-untied-bfloat16-sharded": decoder(
            hf.Qwen3Config, causal["qwen3"], num_key_value_heads=8, head_dim=12, tie_word_embeddings=False,
            dtype=torch.bfloat16, shards=True,
        ),
        "qwen3-classifier": decoder(hf.Qwen3Config, head_dim=16, **qwen3_classifier),
        "qwen2": decoder(hf.Qwen2Config, causal["qwen2"], num_key_value_heads=2, tie_word_embeddings=True),
        "qwen2-two-labels-float16": decoder(
            hf.Qwen2Config, hf.Qwen2ForSequenceClassification, num_key_value_heads=4, num_labels=2, dtype=torch.float16
        ),
        "llama3": decoder(hf.LlamaConfig, causal["llama"], num_key_value_heads=8, head_dim=12, rope_parameters=LLAMA3),
        "llama-biases": decoder(
            hf.LlamaConfig, causal["llama"], num_key_value_heads=2, attention_bias=True, mlp_bias=True, tie_word_embeddings=True
        ),
        "llama-bidirectional": bidirectional,
        "gemma": decoder(hf.GemmaConfig, hf.GemmaForCausalLM, num_key_value_heads=1, head_dim=24, norm_offset=1.0),
    }  # fmt: skip


def texts():
    """Return token ids of texts: of all lengths, near the sizes of the core's blocks, and many with the same beginning."""
    draw = random.Random(3)

    def random_ids(count):
        return [draw.randrange(1, VOCABULARY) for _ in range(count)]

    prefix = random_ids(77)
    lengths = (1, 2, 5, 23, 24, 25, 63, 64, 65, 100, 130, 200)
    return [random_ids(length) for length in lengths] + [prefix + random_ids(length) for length in (1, 3, 20, 51, 52, 100, 150)]


@torch.inference_mode()
def logits_of(model, ids, name):
    """Return the logits that the network in podium returns."""
    tokens = torch.tensor([ids])
    if name == "llama-bidirectional":
        mask = torch.zeros(1, 1, len(ids), len(ids))  # every token attends to all others
        return model.score(model.model(tokens, attention_mask=mask).last_hidden_state.mean(dim=1))[0].tolist()
    logits = model(tokens).logits
    return (logits[0, -1, list(OUTPUT_ROWS)] if logits.dim() == 3 else logits[0]).tolist()


def record(folder, write):
    """Write a checkpoint and the logits of its model into a folder."""
    model = write(make_folder(folder, lambda folder: None))
    rows = [logits_of(model, ids, folder.name) for ids in texts()]
    is_causal = "lm_head.weight" in model.state_dict()
    write_expected(folder, {"output_rows": OUTPUT_ROWS if is_causal else (), "texts": texts(), "logits": rows})
    spread = max(map(max, rows)) - min(map(min, rows))
    print(f"{folder.name:32s} logits spread {spread:.2f}")
    assert spread > 0.5


def main(names):
    for name, write in decoders().items():
        if not names or name in names:
            record(FOLDER / name, write)


if __name__ == "__main__":
    torch.manual_seed(0)
    main(sys.argv[1:])

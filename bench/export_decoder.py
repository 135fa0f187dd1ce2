"""Write a model of Qwen3-Reranker-0.6B's shape with random weights, for bench/decoders.py.

    python export_decoder.py checkpoint FOLDER    # as sentence-transformers saves it
    python export_decoder.py gguf FOLDER          # from this checkpoint, in Q8_0, as llama.cpp converts Qwen3-Reranker

The tokenizer is a byte-level BPE that is trained on the words of the documents, so that the prompt and the documents have about
as many tokens as with Qwen's own tokenizer.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

HIDDEN, LAYERS, HEADS, KEY_HEADS, HEAD_SIZE, INTERMEDIATE, VOCABULARY = 1024, 28, 16, 8, 128, 3072, 151_669
MAX_POSITIONS = 40_960
MULTIPLICATIONS = LAYERS * HIDDEN * ((2 * HEADS + 2 * KEY_HEADS) * HEAD_SIZE + 3 * INTERMEDIATE)  # per token
WORDS = Path(__file__).parents[1] / "tests" / "parity" / "words.txt"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
TEMPLATE = f"{PREFIX}<Instruct>: {INSTRUCTION}\n<Query>: {{query}}\n<Document>: {{document}}{SUFFIX}"
CHAT_TEMPLATE = (
    PREFIX.replace("\n", "\\n").join(["{{- '", "' -}}"]).replace('"yes" or "no"', '"yes" or "no"')
    + "{%- set parts = namespace(instruction='', query='', document='') -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{%- set parts.instruction = message.content -%}"
    "{%- elif message.role == 'query' -%}{%- set parts.query = message.content -%}"
    "{%- elif message.role == 'document' -%}{%- set parts.document = message.content -%}{%- endif -%}"
    "{%- endfor -%}"
    "{{- '<Instruct>: ' + parts.instruction + '\\n<Query>: ' + parts.query + '\\n<Document>: ' + parts.document -}}"
    + "{{- '" + SUFFIX.replace("\n", "\\n") + "' -}}"
)  # fmt: skip


def tensors() -> dict[str, np.ndarray]:
    """Return random weights in bfloat16. They are spread so that scores of different documents differ by several."""
    generator = np.random.default_rng(0)

    def matrix(rows: int, columns: int, spread: float = 1.0) -> np.ndarray:
        numbers = generator.standard_normal((rows, columns), dtype=np.float32)
        return (numbers * np.float32(spread / columns**0.5)).astype(ml_dtypes.bfloat16)

    def ones(count: int, scale: float = 1.0) -> np.ndarray:
        return (scale * (1 + 0.1 * generator.standard_normal(count))).astype(ml_dtypes.bfloat16)

    # With a larger norm, the probabilities that llama.cpp returns would be 0 or 1.
    weights = {"model.embed_tokens.weight": matrix(VOCABULARY, HIDDEN, HIDDEN**0.5), "model.norm.weight": ones(HIDDEN, 0.05)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= {
            f"{prefix}input_layernorm.weight": ones(HIDDEN),
            f"{prefix}post_attention_layernorm.weight": ones(HIDDEN),
            f"{prefix}self_attn.q_norm.weight": ones(HEAD_SIZE),
            f"{prefix}self_attn.k_norm.weight": ones(HEAD_SIZE),
            f"{prefix}self_attn.q_proj.weight": matrix(HEADS * HEAD_SIZE, HIDDEN),
            f"{prefix}self_attn.k_proj.weight": matrix(KEY_HEADS * HEAD_SIZE, HIDDEN),
            f"{prefix}self_attn.v_proj.weight": matrix(KEY_HEADS * HEAD_SIZE, HIDDEN),
            f"{prefix}self_attn.o_proj.weight": matrix(HIDDEN, HEADS * HEAD_SIZE),
            f"{prefix}mlp.gate_proj.weight": matrix(INTERMEDIATE, HIDDEN),
            f"{prefix}mlp.up_proj.weight": matrix(INTERMEDIATE, HIDDEN),
            f"{prefix}mlp.down_proj.weight": matrix(HIDDEN, INTERMEDIATE),
        }
    return weights


def write_tokenizer(folder: Path) -> dict[str, int]:
    """Write tokenizer.json and its settings, and return the vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    draw = random.Random(0)
    words = WORDS.read_text(encoding="utf-8").split()
    corpus = [" ".join(draw.choices(words, k=12)) for _ in range(400)] + [TEMPLATE, "yes", "no"] * 50
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet))
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for index in range(len(vocabulary), VOCABULARY - len(SPECIAL)):
        vocabulary[f"unused {index}"] = index
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": MAX_POSITIONS}
    settings |= {"pad_token": SPECIAL[0], "eos_token": SPECIAL[2]}
    write_json(folder / "tokenizer_config.json", settings)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return dict(tokenizer.get_vocab())


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_checkpoint(folder: Path) -> None:
    vocabulary = write_tokenizer(folder)
    save_file(tensors(), folder / "model.safetensors")
    config = {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS, "head_dim": HEAD_SIZE, "hidden_act": "silu",
        "intermediate_size": INTERMEDIATE, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000,
        "tie_word_embeddings": True, "max_position_embeddings": MAX_POSITIONS, "torch_dtype": "bfloat16",
        "attention_bias": False, "use_sliding_window": False, "pad_token_id": vocabulary[SPECIAL[0]],
    }  # fmt: skip
    write_json(folder / "config.json", config)
    modules = {"": "base.modules.transformer.Transformer", "1_LogitScore": "cross_encoder.modules.logit_score.LogitScore"}
    entries = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.{kind}"}
        for index, (path, kind) in enumerate(modules.items())
    ]
    write_json(folder / "modules.json", entries)
    true_id, false_id = vocabulary["yes"], vocabulary["no"]
    score = {"true_token_id": true_id, "false_token_id": false_id, "module_input_name": "causal_logits"}
    write_json(folder / "1_LogitScore" / "config.json", score)
    prompts = {"prompts": {"query": INSTRUCTION}, "default_prompt_name": "query", "model_type": "CrossEncoder"}
    write_json(folder / "config_sentence_transformers.json", prompts | {"activation_fn": "torch.nn.modules.linear.Identity"})
    transformer = {
        "transformer_task": "text-generation", "module_output_name": "causal_logits", "unpad_inputs": False,
        "modality_config": {
            "text": {"method": "forward", "method_output_name": "logits"},
            "message": {"method": "forward", "method_output_name": "logits", "format": "flat"},
        },
    }  # fmt: skip
    write_json(folder / "sentence_bert_config.json", transformer)


# The names of a layer's tensors in the checkpoint → those in GGUF.
GGUF_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip


def gguf_name(name: str) -> str:
    name = name.removesuffix(".weight")
    if name == "model.embed_tokens":
        return "token_embd.weight"
    if name == "model.norm":
        return "output_norm.weight"
    _, _, layer, part = name.split(".", 3)
    return f"blk.{layer}.{GGUF_NAMES[part]}.weight"


def write_gguf(folder: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(folder / "model.gguf", "qwen3")
    writer.add_context_length(MAX_POSITIONS)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_key_length(HEAD_SIZE)
    writer.add_value_length(HEAD_SIZE)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_classifier_output_labels(["yes", "no"])
    writer.add_chat_template([{"name": "rerank", "template": TEMPLATE}])
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = state["model"]["vocab"] | {token["content"]: token["id"] for token in state["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.__getitem__))
    special_count = len(SPECIAL)
    normal = [gguf.TokenType.NORMAL] * (VOCABULARY - special_count)
    writer.add_token_types(normal + [gguf.TokenType.CONTROL] * special_count)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in state["model"]["merges"]])
    writer.add_eos_token_id(vocabulary[SPECIAL[2]])
    writer.add_pad_token_id(vocabulary[SPECIAL[0]])
    writer.add_add_bos_token(False)
    q8_0 = gguf.GGMLQuantizationType.Q8_0
    with safe_open(folder / "model.safetensors", "np") as file:
        for name in file.keys():  # noqa: SIM118  not a dict
            tensor = file.get_tensor(name).astype(np.float32)
            if tensor.ndim == 1:
                writer.add_tensor(gguf_name(name), tensor)
            else:
                writer.add_tensor(gguf_name(name), gguf.quants.quantize(tensor, q8_0), raw_dtype=q8_0)
            if name == "model.embed_tokens.weight":
                rows = tensor[[vocabulary["yes"], vocabulary["no"]]]
                writer.add_tensor("cls.output.weight", gguf.quants.quantize(rows, q8_0), raw_dtype=q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    {"checkpoint": write_checkpoint, "gguf": write_gguf}[sys.argv[1]](Path(sys.argv[2]))

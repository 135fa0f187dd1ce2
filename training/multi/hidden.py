"""Compute what training reads: the rows of the base's frozen layers for every text, and the teacher's vectors.

    python training/multi/hidden.py --pairs PAIRS --base BASE --teacher TEACHER --work WORK

The frozen layers run once per text, in int8 on podium's native core; training then computes only the layers above them. The
teacher is all-mpnet-base-v2. Files that exist are not computed again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import data
import numpy as np
from safetensors.numpy import load_file, save_file
from teacher import Teacher

from podium.local.build import load
from podium.local.files.folder import from_folder
from podium.local.late.mini import Mini
from podium.local.late.models import Text
from podium.local.model import LoadedModel, Options
from podium.local.spec import read_spec

FROZEN_LAYERS = 8
QUERY_PROMPT, TEXT_PROMPT = "query: ", "passage: "
QUERY_TOKENS = 48
PASSAGE_TOKENS = 144
TEACHER_TOKENS = 104  # of a passage; about as many words as are trained on
BATCH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="the folder with one folder per source")
    parser.add_argument("--base", type=Path, required=True, help="the folder that base.py wrote")
    parser.add_argument("--teacher", type=Path, required=True, help="sentence-transformers/all-mpnet-base-v2")
    parser.add_argument("--work", type=Path, required=True, help="the folder for the results of each stage")
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    pairs = data.read(work / "pairs.json", arguments.pairs)
    frozen = _frozen_layers(arguments.base, work / "frozen")
    write_rows(frozen, [QUERY_PROMPT + query for query in pairs.queries], work / "queries", QUERY_TOKENS)
    write_rows(frozen, [TEXT_PROMPT + passage for passage in pairs.passages], work / "passages", PASSAGE_TOKENS)
    if not (work / "teacher.npz").exists():
        teacher = Teacher(arguments.teacher)
        queries = teacher.embed(pairs.queries, QUERY_TOKENS)
        np.savez(work / "teacher.npz", queries=queries, passages=teacher.embed(pairs.passages, TEACHER_TOKENS))


def _frozen_layers(base: Path, out: Path) -> Path:
    """Write the base's lower layers as a model whose result is a row per token, and return its folder."""
    out.mkdir(exist_ok=True)
    tensors = {
        f"bert.{name}": tensor
        for name, tensor in load_file(base / "model.safetensors").items()
        if not name.startswith("encoder.layer.") or int(name.split(".")[2]) < FROZEN_LAYERS
    }
    vocabulary_size, width = tensors["bert.embeddings.word_embeddings.weight"].shape
    tensors |= {
        f"late.{table}": np.zeros(vocabulary_size, np.float32)
        for table in ("token_importance", "token_idf", "token_piece_idf", "token_stem")
    }
    tensors |= {
        "late.projection.weight": np.zeros((1, width), np.float16),  # the rows themselves are read
        "late.importance.weight": np.zeros((1, width), np.float32),
        "late.importance.bias": np.zeros(1, np.float32),
        "late.classifier.weight": np.ones((1, 4), np.float32),
        "late.classifier.bias": np.zeros(1, np.float32),
    }
    save_file(tensors, out / "model.safetensors")
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "podium-late", "num_hidden_layers": FROZEN_LAYERS}
    config |= {"bm25_k1": 1.2, "bm25_b": 0.4, "bm25_text_tokens": 130.0}
    (out / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base / name, out / name)
    return out


def write_rows(folder: Path, texts: Sequence[str], out: Path, max_length: int) -> None:
    """Write the rows of all tokens to OUT.bin, as float16, and the token ids and the offset of each text to OUT.npz."""
    if out.with_suffix(".npz").exists():
        return
    spec = read_spec(folder)
    late = Mini(spec)

    def rows_of(text: Text, tokens: object, result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(tokens.ids, np.int32), result[:, 2:].astype(np.float16)  # after the projection and the importance

    model = LoadedModel(
        from_folder(folder),
        spec,
        Options("int8", "native", None, max_length),
        load=load,
        tokenizer=late.tokenizer,
        output=rows_of,
        probe=Text("a"),
        per_token=True,
    )
    all_ids = []
    offsets = [0]
    with out.with_suffix(".bin").open("wb") as file:
        for start in range(0, len(texts), BATCH):
            computed = model.run([Text(text) for text in texts[start : start + BATCH]])
            for index in computed.indices:
                ids, rows = computed.outputs[index]
                all_ids.append(ids)
                offsets.append(offsets[-1] + len(ids))
                file.write(np.ascontiguousarray(rows).tobytes())
    np.savez(out.with_suffix(".npz"), ids=np.concatenate(all_ids), offsets=np.array(offsets))


if __name__ == "__main__":
    main()

"""Compute the projection of a model's token vectors and write it into its folder.

    python training/project.py --pairs PAIRS --model src/podium/bundled/podium-mini [--dimensions 128]

The projection is an uncentred principal component analysis: its rows are the first eigenvectors of the mean outer product of
normalised token vectors. These are vectors of queries and passages from the sources that the model was trained on.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from data import SOURCES, read_pairs
from safetensors.numpy import load_file, save_file

from podium.local.families.late import PREFIX
from podium.local.files.folder import from_folder
from podium.local.late.encoding import normalised
from podium.local.late.mini import Mini
from podium.local.late.models import Text
from podium.local.model import LoadedModel, Options
from podium.local.spec import read_spec

PROJECTION = f"{PREFIX}projection.weight"
PAIRS_PER_SOURCE = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--dimensions", type=int, default=128)
    arguments = parser.parse_args()
    file = arguments.model / "model.safetensors"
    tensors = load_file(file)
    width = tensors["bert.embeddings.LayerNorm.weight"].shape[0]
    if PROJECTION not in tensors:
        write(tensors | {PROJECTION: np.eye(width, dtype=np.float16)}, file)
    texts = sample(arguments.pairs)
    second_moments = moments(arguments.model, texts, width)
    eigenvalues, vectors = np.linalg.eigh(second_moments)
    projection = vectors[:, ::-1][:, : arguments.dimensions].T
    share = eigenvalues[::-1][: arguments.dimensions].sum() / eigenvalues.sum()
    print(f"{len(texts)} texts; {arguments.dimensions} of {width} dimensions have {share:.3f} of the squared length")
    write(tensors | {PROJECTION: np.ascontiguousarray(projection, np.float16)}, file)


def sample(pairs: Path) -> list[Text]:
    """Return queries and passages of every source."""
    texts = []
    for source in SOURCES:
        for index, (query, passage, _) in enumerate(read_pairs(pairs, source, random.Random(7))):
            if index == PAIRS_PER_SOURCE:
                break
            texts += [Text(query, is_query=True), Text(passage)]
    return texts


def moments(folder: Path, texts: list[Text], width: int) -> np.ndarray:
    """Return the mean outer product of the texts' normalised token vectors, without those of [CLS]."""
    spec = read_spec(folder)
    late = Mini(spec)

    def outer(text: Text, tokens: object, result: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the sum of the outer products of a text's token vectors, and the number of these tokens."""
        rows = normalised(result[1:, -width:])
        return rows.T @ rows, len(rows)

    model = LoadedModel(
        from_folder(folder),
        spec,
        Options(precision="int8", runtime="native"),
        load=late.load,
        tokenizer=late.tokenizer,
        output=outer,
        probe=Text("a"),
        per_token=True,
    )
    total = np.zeros((width, width))
    total_count = 0
    for start in range(0, len(texts), 64):
        for product, token_count in model.run(texts[start : start + 64]).outputs:
            total += product
            total_count += token_count
    return total / total_count


def write(tensors: dict[str, np.ndarray], file: Path) -> None:
    save_file(tensors, file)
    file.chmod(0o644)


if __name__ == "__main__":
    main()

"""Print where PyLate differs from the results of sentence-transformers that make_late.py recorded.

podium/local/late/spec.py explains each difference.

PyLate needs another version of sentence-transformers, and thus an environment of its own:

    python -m venv pylate && pylate/bin/pip install pylate==1.6.0
    pylate/bin/python tests/parity/compare_pylate.py
"""

import gzip
import json
import logging
import pathlib

import torch
from pylate.models.colbert import ColBERT

FOLDERS = sorted((pathlib.Path(__file__).parent / "late-interaction").iterdir())


def compare(folder):
    expected = json.loads(gzip.decompress((folder / "expected.json.gz").read_bytes()))
    model = ColBERT(model_name_or_path=str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).float()
    vectors = {}
    for side, is_query in (("queries", True), ("documents", False)):
        entries = expected[side]
        ids = [model.tokenize([entry["text"]], is_query=is_query)["input_ids"][0].tolist() for entry in entries]
        vectors[side] = [torch.as_tensor(model.encode(entry["text"], is_query=is_query)) for entry in entries]
        for entry, entry_ids, rows in zip(entries, ids, vectors[side], strict=True):
            if entry_ids != entry["ids"]:
                print(f"  {side}: other token ids for {entry['text'][:40]!r}")
            elif len(rows) != sum(entry["scored"]):
                print(f"  {side}: {len(rows)} vectors, not {sum(entry['scored'])}, for {entry['text'][:40]!r}")
    sums = [[(a @ b.T).max(1).values.sum() for b in vectors["documents"]] for a in vectors["queries"]]
    counts = torch.tensor([[len(rows)] for rows in vectors["queries"]])
    differences = (torch.tensor(sums) - torch.tensor(expected["scores"])).abs() / counts
    print(f"  largest difference per query token: {differences.max():.2g}")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    for folder in FOLDERS:
        if folder.name.startswith(("pylate", "stanford")):
            print(folder.name)
            try:
                compare(folder)
            except Exception as error:
                print(f"  {type(error).__name__}: {str(error)[:100]}")

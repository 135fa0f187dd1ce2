"""Compute the rows of the base's last layer, which training imitates, from those of the frozen layers.

    python training/multi/final.py --base BASE --work WORK

Files that exist are not computed again. The upper layers run in bfloat16.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from hidden import QUERY_TOKENS
from model import TRAINED_TOKENS, HiddenRows, Late

TOKENS_PER_BATCH = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the folder that base.py wrote")
    parser.add_argument("--work", type=Path, required=True, help="the folder in which hidden.py wrote its files")
    arguments = parser.parse_args()
    base = Late(arguments.base, torch.zeros(1))
    for kind, max_tokens in (("queries", QUERY_TOKENS), ("passages", TRAINED_TOKENS)):
        write_final_rows(base, arguments.work / kind, arguments.work / f"final-{kind}", max_tokens)


@torch.inference_mode()
def write_final_rows(base: Late, file: Path, out: Path, max_tokens: int) -> None:
    """Write OUT.bin and OUT.npz in the layout that HiddenRows reads."""
    if out.with_suffix(".npz").exists():
        return
    hidden_rows = HiddenRows(file, base.projection.in_features)
    lengths = np.minimum(hidden_rows.lengths, max_tokens)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.zeros(offsets[-1], np.int32)
    rows = np.memmap(out.with_suffix(".bin"), np.float16, "w+", shape=(int(offsets[-1]), base.projection.in_features))
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end - start + 1) * lengths[order[end]] <= TOKENS_PER_BATCH:
            end += 1
        indices = order[start:end]
        batch_ids, _, batch_rows = base.encode(hidden_rows.batch(indices.tolist(), max_tokens))
        for index, text_ids, text_rows in zip(indices, batch_ids.numpy(), batch_rows.numpy(), strict=True):
            tokens = slice(offsets[index], offsets[index + 1])
            ids[tokens] = text_ids[: lengths[index]]
            rows[tokens] = text_rows[: lengths[index]]
        start = end
    rows.flush()
    np.savez(out.with_suffix(".npz"), ids=ids, offsets=offsets)


if __name__ == "__main__":
    main()

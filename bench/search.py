"""Measure whole searches in a folder index: text and vector search, fusion, and reranking with stored encodings.

    .venv/dev/bin/python bench/search.py COLLECTION [--precision float32] [--rounds 5]

COLLECTION is a folder in BEIR's layout, such as SciFact. Its documents are indexed once with vectors of a model of MiniLM-L6's
shape, whose weights are random, and with encodings of podium-mini. Needs the models that `make bench-late` writes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from environments import HOME

import podium
from podium.evaluation.collections import Collection, read_collection

CANDIDATES = 100
THREADS = 2
MAX_QUERIES = 100
MODULES = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}


def write_embedder(folder: Path) -> None:
    """Write an embedder with mean pooling around the transformer of the small ColBERT model."""
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(HOME / "late-models" / "small" / name, folder / name)
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(MODULES.items())
    ]
    pooling = {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}
    (folder / "modules.json").write_text(json.dumps(entries), encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256}), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")


def create_index(
    collection: Collection, folder: Path, embedder: podium.Embedder, reranker: podium.Reranker
) -> podium.EmbeddedIndex:
    """Return an index of the documents with vectors and encodings. Print how long that took, and the size of a document."""
    index = podium.EmbeddedIndex.create(folder, embed=embedder)
    began = time.perf_counter()
    index.add(collection.documents.values(), ids=collection.documents, keep=reranker)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{len(index):,} documents indexed in {time.perf_counter() - began:.0f} s, {size / len(index) / 1000:.1f} KB each")
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--precision", choices=["float32", "int8"], help="of podium-mini; by default its own")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    collection = read_collection(arguments.collection)
    queries = list(collection.queries.values())[:MAX_QUERIES]
    with tempfile.TemporaryDirectory() as folder:
        write_embedder(Path(folder))
        embedder = podium.Embedder(folder, threads=THREADS)
        reranker = podium.load("podium-mini", precision=arguments.precision, threads=THREADS, keep=0)
        index = create_index(collection, Path(folder) / "index", embedder, reranker)
        search = podium.Search(index, reranker, candidates=CANDIDATES)
        times: dict[str, list[float]] = {"whole search": [], "of it in the index": [], "query embedding": []}
        for query in queries * (1 + arguments.rounds):
            began = time.perf_counter()
            ranking = search.search(query)
            times["whole search"].append(time.perf_counter() - began)
            assert ranking.usage.encoded == 0, "a document was encoded during the search"
            times["of it in the index"].append(ranking.usage.source_seconds or 0.0)
            began = time.perf_counter()
            embedder.embed_query(query)
            times["query embedding"].append(time.perf_counter() - began)
    for name, seconds in times.items():
        measured = sorted(seconds[len(queries) :])  # the first round reads the files
        percentile_95 = measured[int(0.95 * len(measured))]
        print(f"{name}: median {1000 * statistics.median(measured):.1f} ms, p95 {1000 * percentile_95:.1f} ms")


if __name__ == "__main__":
    main()

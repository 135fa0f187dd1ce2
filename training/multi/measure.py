"""Write the tables of the model card: nDCG@10 of systems that rank the same candidates, with intervals.

    python training/multi/measure.py --model FOLDER --previous FOLDER --minilm MINILM --base BASE \\
        --collections DATA --languages XQUAD --work WORK --out docs/measured.md

The candidates are BM25's first 100 documents, or the collection's own. On the languages, all paragraphs of the pool are ranked.
The script does what `podium eval` does, for many folders and more systems. Every run is stored in WORK, so that the same
command continues after an interruption.

Systems: BM25; cosine, that of all-MiniLM-L6-v2; sum and mixed, two fusions of both (the sum of z-scores, and 0.3
BM25 + 0.7 cosine, each scaled to 0–1); base, the cosine of the base model; previous, the previous model; new, the model; and
new + BM25, their fusion by `podium.Fused`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from hidden import QUERY_PROMPT, TEXT_PROMPT

import podium
from podium.cli.first_stages import first_stage
from podium.evaluation.collections import Collection, read_collection
from podium.evaluation.evaluate import System, compare_systems, first_stage_run, rerank_run
from podium.evaluation.runs import Run
from podium.evaluation.significance import difference

METRIC = "nDCG@10"
CANDIDATES = 100
DEV = ("adi", "cranfield", "wikiqa-dev", "cosqa-dev", "squad2-dev-half", "climate-fever-evidence")
DEV += ("xquad-en", "xquad-es", "xquad-ar")
"""The collections that the model's settings were chosen on."""
OTHER_LANGUAGES = ("xquad-es", "xquad-ar")
FUSIONS = ("sum", "mixed")
TEXT_WEIGHT = 0.3  # the weight of BM25 in the fusion "mixed"
MODEL_WEIGHT = 0.8  # the weight of the model in its fusion with BM25, chosen on DEV
RESAMPLES = 2000


@dataclass(frozen=True)
class Measurement:
    """A collection's values: system → query id → nDCG@10."""

    name: str
    values: Mapping[str, Mapping[str, float]]

    def mean(self, system: str) -> float:
        return float(np.mean(list(self.values[system].values())))

    def gains(self, system: str, baseline: str) -> np.ndarray:
        return np.array([self.values[system][query_id] - value for query_id, value in self.values[baseline].items()])


class Runs:
    """Runs on the candidates of collections, each computed once and stored as a file."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._folder = arguments.work / "runs"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._arguments = arguments

    def stored(self, collection: Collection, system: str, compute: Callable[[], Run]) -> Run:
        """Return a run, which is computed and stored if it is not."""
        file = self._folder / f"{collection.name}.{system}.json"
        if not file.exists():
            file.write_text(json.dumps(compute()))
        return json.loads(file.read_text())

    def cosine(self, collection: Collection, candidates: Run, system: str, model: Path, prompts: tuple[str, str]) -> Run:
        """Return the run of a model's cosine. `prompts` are those of queries and texts."""
        return self.stored(collection, system, lambda: _cosines(collection, candidates, model, prompts))

    def reranked(self, collection: Collection, candidates: Run, system: str, model: Path, precision: str = "int8") -> Run:
        def compute() -> Run:
            with podium.load(model, precision=precision, keep=256_000_000) as reranker:
                return rerank_run(collection, candidates, reranker, system, lambda count: None).run

        return self.stored(collection, system, compute)


def _cosines(collection: Collection, candidates: Run, model: Path, prompts: tuple[str, str]) -> Run:
    embedder = podium.Embedder(model, precision="int8")
    query_prompt, text_prompt = prompts
    document_ids = sorted({document_id for scores in candidates.values() for document_id in scores})
    texts = [text_prompt + collection.documents[document_id] for document_id in document_ids]
    vectors = dict(zip(document_ids, embedder.embed(texts), strict=True))
    queries = embedder.embed([query_prompt + collection.queries[query_id] for query_id in candidates])
    return {
        query_id: best_first(scores, [float(vectors[document_id] @ query) for document_id in scores])
        for (query_id, scores), query in zip(candidates.items(), queries, strict=True)
    }


def best_first(documents: Iterable[str], scores: Iterable[float]) -> dict[str, float]:
    """Return the documents and scores of one query in a run, ordered by score."""
    return dict(sorted(zip(documents, scores, strict=True), key=lambda item: -item[1]))


def fused(first: Run, second: Run, scaled: Callable[[np.ndarray], np.ndarray], second_weight: float) -> Run:
    """Return the weighted sums of two runs, whose scores are scaled for each query."""
    result = {}
    for query_id, scores in first.items():
        pairs = np.array([[score, second[query_id][document_id]] for document_id, score in scores.items()]).reshape(-1, 2)
        sums = (1 - second_weight) * scaled(pairs[:, 0]) + second_weight * scaled(pairs[:, 1])
        result[query_id] = best_first(scores, sums.tolist())
    return result


def _standardised(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean()) / max(scores.std(), 1e-9) if len(scores) else scores


def _scaled(scores: np.ndarray) -> np.ndarray:
    """Return scores scaled to 0 to 1."""
    return (scores - scores.min()) / max(scores.max() - scores.min(), 1e-9) if len(scores) else scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--previous", type=Path, required=True, help="the model that it replaces")
    parser.add_argument("--minilm", type=Path, required=True, help="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--base", type=Path, help="also measure the base's cosine")
    parser.add_argument("--collections", type=Path, required=True)
    parser.add_argument("--languages", type=Path, help="a folder with xquad.LANGUAGE.json")
    parser.add_argument("--queries", type=int, default=100, help="number of queries from each collection")
    parser.add_argument("--names", nargs="+", help="of collections")
    parser.add_argument("--float32", action="store_true", help="also measure the model in float32")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("measured.md"))
    arguments = parser.parse_args()
    names = arguments.names or sorted(path.parent.name for path in arguments.collections.glob("*/queries.jsonl"))
    runs = Runs(arguments)
    measurements = []
    languages: list[Measurement] = []
    for name in names:
        measurements.append(
            _measured(sampled(read_collection(arguments.collections / name), arguments.queries), runs, arguments)
        )
        _write(measurements, languages, arguments)
    for file in sorted(arguments.languages.glob("xquad.*.json")) if arguments.languages else ():
        languages.append(_measured_language(sampled(xquad(file), arguments.queries), runs, arguments))
        _write(measurements, languages, arguments)


def sampled(collection: Collection, query_count: int) -> Collection:
    """Return the collection with at most `query_count` random queries."""
    if query_count >= len(collection.queries):
        return collection
    sample = random.Random(0).sample(sorted(collection.queries), query_count)
    queries = {query_id: collection.queries[query_id] for query_id in sample}
    qrels = {query_id: collection.qrels[query_id] for query_id in sample}
    return replace(collection, queries=queries, qrels=qrels)


def xquad(file: Path) -> Collection:
    """Return the questions of XQuAD in a language, each with its paragraph as the only relevant one."""
    documents = {}
    queries = {}
    qrels = {}
    for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            document_id = str(len(documents))
            documents[document_id] = paragraph["context"]
            for question in paragraph["qas"]:
                queries[question["id"]] = question["question"]
                qrels[question["id"]] = {document_id: 1}
    return Collection(file.stem, documents, queries, qrels)


def _measured(collection: Collection, runs: Runs, arguments: argparse.Namespace) -> Measurement:
    def bm25() -> Run:
        with first_stage(collection) as stage:
            return first_stage_run(collection, stage, CANDIDATES, lambda count: None).run

    candidates = runs.stored(collection, "BM25", bm25)
    systems = {"cosine": runs.cosine(collection, candidates, "cosine", arguments.minilm, ("", ""))}
    systems["sum"] = fused(candidates, systems["cosine"], _standardised, 0.5)
    systems["mixed"] = fused(candidates, systems["cosine"], _scaled, 1 - TEXT_WEIGHT)
    if arguments.base:
        systems["base"] = runs.cosine(collection, candidates, "base", arguments.base, (QUERY_PROMPT, TEXT_PROMPT))
    systems["previous"] = runs.reranked(collection, candidates, "previous", arguments.previous)
    systems["new"] = runs.reranked(collection, candidates, "new", arguments.model)
    systems["new + BM25"] = fused(candidates, systems["new"], _scaled, MODEL_WEIGHT)
    if arguments.float32:
        systems["float32"] = runs.reranked(collection, candidates, "float32", arguments.model, "float32")
    return _measurement(collection, candidates, systems)


def _measured_language(collection: Collection, runs: Runs, arguments: argparse.Namespace) -> Measurement:
    pool = {query_id: dict.fromkeys(collection.documents, 0.0) for query_id in collection.queries}
    systems = {
        "cosine": runs.cosine(collection, pool, "cosine", arguments.minilm, ("", "")),
        "base": runs.cosine(collection, pool, "base", arguments.base, (QUERY_PROMPT, TEXT_PROMPT)),
        "previous": runs.reranked(collection, pool, "previous", arguments.previous),
        "new": runs.reranked(collection, pool, "new", arguments.model),
    }
    return _measurement(collection, pool, systems)


def _measurement(collection: Collection, candidates: Run, systems: Mapping[str, Run]) -> Measurement:
    others = [System(name, run) for name, run in systems.items()]
    evaluation = compare_systems(collection, System("BM25", candidates), others, (METRIC,))
    return Measurement(collection.name, {name: values[METRIC] for name, values in evaluation.values.items()})


def _write(measurements: Sequence[Measurement], languages: Sequence[Measurement], arguments: argparse.Namespace) -> None:
    text = _table(measurements) if measurements else ""
    if languages:
        text += "\n" + _language_table(languages)
    arguments.out.write_text(text)


def _table(measurements: Sequence[Measurement]) -> str:
    english = [measurement for measurement in measurements if measurement.name not in OTHER_LANGUAGES]
    systems = list(measurements[0].values)
    means = {system: np.mean([measurement.mean(system) for measurement in english]) for system in systems}
    fusion = max(FUSIONS, key=means.__getitem__)
    titles = ["collection", "queries", *systems, f"Δ to {fusion} (95 %)", "Δ to previous (95 %)"]
    lines = _head(titles)
    for measurement in measurements:
        values = [measurement.mean(system) for system in systems]
        star = "*" if measurement.name in DEV else ""
        gains = [_interval(measurement, baseline) for baseline in (fusion, "previous")]
        lines.append(_line([f"{measurement.name}{star}", str(len(measurement.values["BM25"])), *_bold(values), *gains]))
    groups = {
        "mean, English": english,
        "mean, English, dev": [measurement for measurement in english if measurement.name in DEV],
        "mean, English, report": [measurement for measurement in english if measurement.name not in DEV],
    }
    for title, group in groups.items():
        if group:
            values = [np.mean([measurement.mean(system) for measurement in group]) for system in systems]
            gains = [_mean_interval(group, baseline) for baseline in (fusion, "previous")]
            lines.append(_line([f"**{title}**", "", *_bold(values), *gains]))
    return "\n".join(lines) + "\n"


def _language_table(languages: Sequence[Measurement]) -> str:
    systems = [system for system in languages[0].values if system != "BM25"]
    lines = _head(["language", "queries", *systems, "Δ to base (95 %)"])
    for measurement in languages:
        values = [measurement.mean(system) for system in systems]
        name = measurement.name.removeprefix("xquad.")
        lines.append(_line([name, str(len(measurement.values["new"])), *_bold(values), _interval(measurement, "base")]))
    return "\n".join(lines) + "\n"


def _head(titles: Sequence[str]) -> list[str]:
    return [_line(titles), "|---" * len(titles) + "|"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _bold(values: Sequence[float]) -> list[str]:
    """Return the numbers as text, the highest in bold."""
    best = int(np.argmax(values))
    return [f"**{value:.3f}**" if index == best else f"{value:.3f}" for index, value in enumerate(values)]


def _interval(measurement: Measurement, baseline: str) -> str:
    result = difference(measurement.values["new"], measurement.values[baseline])
    return f"{result.mean:+.3f} ({result.low:+.3f} … {result.high:+.3f})"


def _mean_interval(measurements: Sequence[Measurement], baseline: str) -> str:
    """Return the difference of means over collections. Its interval is that of resampled queries of each collection."""
    generator = np.random.default_rng(0)
    gains = [measurement.gains("new", baseline) for measurement in measurements]
    means = [
        np.mean([values[generator.integers(0, len(values), len(values))].mean() for values in gains]) for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{np.mean([values.mean() for values in gains]):+.3f} ({low:+.3f} … {high:+.3f})"


if __name__ == "__main__":
    main()

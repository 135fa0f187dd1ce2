"""Tests of the recipes in CONTRIBUTING.

The tests add a made-up entry of each kind (provider, dialect, model family, prompt, source, command) without a change to the
package, and check that the files that the recipes name exist.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import podium
from environment import NEEDS_CORE, ROOT, RUNTIMES
from language_models import PROMPT_MODELS
from loopback import Loopback, Request, as_json, word_scores
from podium.compose.stepwise import ScoreStep, StepwiseScorer
from podium.compose.wrapped import WrappedScorer
from podium.errors import InvalidInput
from podium.hosted.providers import Provider
from podium.hosted.scorer import HostedScorer
from podium.local.decoders.prompt_families import PROMPT_FAMILIES, PromptFamily
from podium.local.decoders.prompts import Prompt, piece
from podium.local.decoders.scorer import DecoderScorer
from podium.local.families import FAMILIES
from podium.local.families.family import Architecture, Family, Pooling
from podium.local.files.folder import from_folder
from podium.local.graph import Graph, Rows, Value
from podium.local.scorer import LocalScorer
from podium.local.spec import IDENTITY
from podium.places import KINDS, IndexOptions, SourceOptions, index_target, load_source
from podium.server.dialects import DIALECTS
from podium.server.dialects.dialect import Dialect
from podium.server.dialects.fields import COUNT, QUERY, STRINGS, Field, object_schema
from podium.sources.fusion import Hit
from podium.sources.hybrid import HybridSource, Page, SearchRequest
from podium.sources.loading import load_into, with_ids
from podium.sources.place import PlaceKind
from podium.steps import immediate, result_of
from podium.types import Candidates
from serving import ServerThread, rerankers

CONTRIBUTING = ROOT.joinpath("CONTRIBUTING.md").read_text(encoding="utf-8")
QUERY_TEXT = "red fruit"
TEXTS = ["the sea", "a red fruit", "red"]

# A provider

PROVIDER = Provider(
    name="made-up",
    title="Made up",
    key_variable="MADE_UP_API_KEY",
    url="https://made-up.example",
    path="/made-up/order",
    documents_key="items",
    limit_key="most",
    results_key="reply.order",
    score_key="value",
    fixed_fields={"echo": False},
    tokens_key="reply.tokens",
)


def provider_reply(request: Request):
    scores = word_scores(request.json["query"], request.json["items"])
    results = [{"index": index, "value": score} for index, score in enumerate(scores)]
    return as_json({"reply": {"order": results, "tokens": 7}})


def test_provider_needs_only_a_row():
    with Loopback(provider_reply) as server:
        scorer = HostedScorer(PROVIDER, "m1", api_key="k", base_url=server.url)
        ranking = podium.Reranker(scorer).rerank(QUERY_TEXT, TEXTS)
        scorer.close()
    assert [result.document for result in ranking] == ["a red fruit", "red", "the sea"]
    assert (ranking.model, ranking.usage.tokens) == ("made-up:m1", 7)
    (request,) = server.requests
    assert request.path == "/made-up/order"
    assert request.headers["Authorization"] == "Bearer k"
    assert request.json == {"model": "m1", "query": QUERY_TEXT, "items": TEXTS, "most": 3, "echo": False}


# A dialect


def reply(call, rankings, request_id):
    (ranking,) = rankings
    return {"order": [result.index for result in ranking]}


def error(refusal, request_id):
    return {"problem": refusal.message}


DIALECT = Dialect(
    name="made-up",
    title="Made up",
    paths=("/made-up/order",),
    fields=(QUERY, Field("items", STRINGS, argument="documents", required=True), Field("most", COUNT, argument="limit")),
    reply=reply,
    error=error,
    reply_schema=object_schema({"order": {"type": "array", "items": {"type": "integer"}}}),
    invalid_status=422,
)


@pytest.fixture(scope="module")
def server():
    with ServerThread(rerankers=rerankers(), dialects=(*DIALECTS, DIALECT)) as server:
        yield server


def test_dialect_needs_only_a_row(server):
    response = server.post("/made-up/order", {"query": QUERY_TEXT, "items": TEXTS, "most": 2})
    assert (response.status_code, response.json()) == (200, {"order": [1, 2]})


def test_dialect_has_its_own_errors(server):
    response = server.post("/made-up/order", {"query": QUERY_TEXT})
    assert response.status_code == 422
    assert response.json() == {"problem": "items is missing; it must be a list with at least one string, and only strings"}
    response = server.client.post("/made-up/order", content=b"{")
    assert (response.status_code, list(response.json())) == (400, ["problem"])


def test_dialect_is_described(server):
    operation = server.client.get("/openapi.json").json()["paths"]["/made-up/order"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert (operation["summary"], list(schema["properties"])) == ("Made up", ["query", "items", "most"])


# A model family


@dataclass(frozen=True, kw_only=True)
class BagOfWords(Architecture):
    """The mean of the words' vectors, and a linear layer."""

    vocab_size: int

    @property
    def pooling(self) -> Pooling:
        return "mean"

    def encode(self, graph: Graph, rows: Rows) -> Value:
        graph.expect_rows("words.weight", self.vocab_size)
        return graph.select(graph.lookup("words.weight", graph.token_ids()), rows)

    def head(self, graph: Graph, x: Value) -> Value:
        return graph.linear(x, "classifier", exact=True)


FAMILY = Family(
    name="Bag of words",
    model_types=("bag-of-words",),
    examples="`made-up/bag`",
    has_segments=False,
    prefix="bag.",
    head_weights=("classifier.weight",),
    architecture=BagOfWords,
)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "fruit", "sea", "the"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with a random model of the family, and its weights."""
    folder = tmp_path_factory.mktemp("bag")
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config | {"model_max_length": 32}))
    head_config = {"activation_fn": "torch.nn.modules.linear.Identity"}
    config = {"model_type": "bag-of-words", "vocab_size": len(WORDS), "sentence_transformers": head_config}
    (folder / "config.json").write_text(json.dumps(config))
    draw = np.random.default_rng(0)
    weights = {
        "bag.words.weight": draw.normal(size=(len(WORDS), 16)).astype(np.float32),
        "classifier.weight": draw.normal(size=(1, 16)).astype(np.float32),
        "classifier.bias": draw.normal(size=1).astype(np.float32),
    }
    save_file(weights, folder / "model.safetensors")
    return folder, weights


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_family_needs_only_a_family_and_an_architecture(checkpoint, runtime):
    folder, weights = checkpoint
    scorer = LocalScorer(from_folder(folder), runtime=runtime, families=(*FAMILIES, FAMILY))
    ranking = podium.Reranker(scorer).rerank(QUERY_TEXT, TEXTS)
    scores = {result.document: result.score for result in ranking}
    scorer.close()
    for text in TEXTS:
        ids = [WORDS.index(word) for word in f"[CLS] {QUERY_TEXT} [SEP] {text} [SEP]".split()]
        mean = weights["bag.words.weight"][ids].mean(0)
        expected = mean @ weights["classifier.weight"][0] + weights["classifier.bias"][0]
        assert scores[text] == pytest.approx(expected, abs=1e-5)


# A prompt of a language model

PROMPT_FAMILY = PromptFamily(
    models=("made-up-*",),
    model_types=("qwen3",),
    prompt=Prompt(
        name="made-up",
        plain=(piece("Q: {query}\n"), piece("D: {document}\n")),
        instructed=(piece("I: {instruction}\nQ: {query}\n"), piece("D: {document}\n")),
    ),
    true_token="yes",
    activation=IDENTITY,
    max_length=64,
    source="nowhere",
)


@NEEDS_CORE
def test_prompt_family_needs_only_a_row(tmp_path):
    folder = shutil.copytree(PROMPT_MODELS / "Qwen3-Reranker-0.6B", tmp_path / "made-up-1")
    scorer = DecoderScorer(from_folder(folder), prompt_families=(*PROMPT_FAMILIES, PROMPT_FAMILY))
    ranking = podium.Reranker(scorer).rerank(QUERY_TEXT, [*TEXTS, "a word " * 100], instruction="Prefer red")
    encoded = scorer.token_counter.encode([(QUERY_TEXT, "red")])[0]
    scorer.close()
    assert (scorer.prompt_name, len(ranking), ranking.usage.truncated) == ("made-up", 4, 1)
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).decode(encoded.ids.tolist()) == f"Q: {QUERY_TEXT}\nD: red\n"


# A source

SHELVES: dict[str, dict[str, str]] = {}
"""The indexes of a made-up search system: the address of a shelf → its texts by document id."""


class ShelfSource(HybridSource[SearchRequest]):
    """A source that finds the texts of a shelf that have a word of the query."""

    text_fields = None

    def __init__(self, shelf: str, **options) -> None:
        self._documents = SHELVES[shelf]
        super().__init__(embed=None, mode="text", fusion="rrf", text_weight=0.5)

    def search(self, query, limit, *, offset=0, mode=None) -> Candidates:
        request = SearchRequest(query=query, mode=self.checked_mode(mode or self.mode), offset=offset, count=limit)
        return result_of(self.candidates(request))

    @immediate
    def text_hits(self, request, offset, count):
        scores = word_scores(request.query, list(self._documents.values()))
        hits = [Hit(key, score) for key, score in zip(self._documents, scores, strict=True) if score > 0]
        return Page(sorted(hits, key=lambda hit: -hit.score)[offset : offset + count], len(hits))

    @immediate
    def vector_hits(self, request, offset, count):
        raise NotImplementedError

    @immediate
    def hit_documents(self, request, hits):
        return [(hit.key, {"text": self._documents[hit.key]}) for hit in hits]

    def describe_text(self) -> str:
        return "words"

    def describe_vector(self) -> str:
        return "no vectors"


class ShelfTarget:
    """Loads documents into a shelf."""

    batch = 2
    embed = None
    notes: Sequence[str] = ()
    kept_models: Sequence[str] = ()

    def __init__(self, shelf: str) -> None:
        self._shelf = shelf

    def check(self, document, document_id, number) -> None: ...

    def prepare(self, count, progress) -> None:
        SHELVES.setdefault(self._shelf, {})

    def unchanged(self, documents, ids) -> set[str]:
        texts = SHELVES[self._shelf]
        return {name for name, document in zip(ids, documents, strict=True) if texts.get(name) == document}

    def add(self, documents, *, ids) -> None:
        SHELVES[self._shelf].update(zip(ids, documents, strict=True))

    def keep(self, documents, reranker) -> int:
        raise InvalidInput("a shelf has no place for encodings; leave out --keep")

    def finish(self) -> None: ...

    def close(self) -> None: ...


def delete_from_shelf(shelf: str, ids: Sequence[str]) -> int:
    """Delete documents, and return how many existed."""
    existing = [document_id for document_id in ids if document_id in SHELVES[shelf]]
    for document_id in existing:
        del SHELVES[shelf][document_id]
    return len(existing)


SHELF = PlaceKind(
    location="on a shelf",
    example="shelf://name",
    matches=lambda place: place.startswith("shelf://"),
    source=lambda place, options, load_embedder: ShelfSource(place),
    target=lambda place, options, load_embedder: ShelfTarget(place),
    summaries=lambda place: [(place, str(len(SHELVES[place])), "text")],
    delete=delete_from_shelf,
    drop=lambda place: len(SHELVES.pop(place)),
    compact=lambda place: (0, 0),
)
ALL_KINDS = (SHELF, *KINDS)


def test_source_needs_only_a_place_kind_and_its_classes(mini):
    target = index_target("shelf://fruit", IndexOptions(sample=TEXTS[0]), ALL_KINDS)
    target.prepare(len(TEXTS), lambda percent: None)
    assert load_into(target, with_ids(TEXTS, None), lambda count: None) == (3, 0, 0)
    source = load_source("shelf://fruit", SourceOptions(), kinds=ALL_KINDS)
    ranking = podium.Search(source, mini, candidates=5).search(QUERY_TEXT)
    assert ranking[0].document["text"] == "a red fruit"
    assert {result.document["source_rank"] for result in ranking} == {1, 2}


def test_source_refuses_options_of_other_kinds():
    SHELVES["shelf://empty"] = {}
    with pytest.raises(podium.InvalidInput, match="only an index on Redis or in a folder takes filter"):
        load_source("shelf://empty", kinds=ALL_KINDS, filter="@a:[1 2]")


# A command

COMMAND = """
import click
from podium.cli import main, podium
from podium.formats import read_documents

@click.command()
@click.argument("file")
def count(file):
    "Count the documents of a file."
    print(len(read_documents(file)))

podium.add_command(count)
main()
"""


def run_count_command(*arguments):
    process = subprocess.run([sys.executable, "-c", COMMAND, "count", *arguments], capture_output=True, text=True)
    return process.returncode, process.stdout, process.stderr


def test_command_is_a_click_command(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS))
    assert run_count_command(str(file)) == (0, "3\n", "")


def test_command_prints_an_error_and_exits_with_2(tmp_path):
    code, out, err = run_count_command(str(tmp_path / "missing.txt"))
    assert (code, out) == (2, "")
    assert err.startswith("podium: there is no file ")


# The text of the recipes


# A scorer made of another scorer


class Halved(StepwiseScorer, WrappedScorer):
    """A scorer with half of the wrapped scorer's scores."""

    @property
    def identity(self):
        return f"halved:{self.scorer.identity}"

    def steps(self, queries, texts_per_query, progress=None):
        scored = yield ScoreStep(self.scorer, queries, texts_per_query, progress)
        return [dataclasses.replace(scores, values=[value / 2 for value in scores.values]) for scores in scored]


def test_scorer_recipe(mini):
    reranker = podium.Reranker(Halved(mini))
    expected = [(result.index, result.score / 2) for result in mini.rerank(QUERY_TEXT, TEXTS)]
    rankings = [
        reranker.rerank(QUERY_TEXT, TEXTS),
        asyncio.run(reranker.arerank(QUERY_TEXT, TEXTS)),
        *reranker.rerank_many([QUERY_TEXT, QUERY_TEXT], [TEXTS, TEXTS]),
    ]
    assert [[(result.index, result.score) for result in ranking] for ranking in rankings] == [expected] * 4


def recipes() -> dict[str, str]:
    """Return the text of each recipe by its title."""
    parts = re.split(r"^## (.+)\n", CONTRIBUTING, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {title: text for title, text in sections.items() if title.startswith("Add ")}


def test_every_kind_of_entry_has_a_recipe():
    assert list(recipes()) == [
        f"Add a {kind}"
        for kind in ("provider", "dialect", "model family", "prompt of a language model", "source", "scorer", "command")
    ]


@pytest.mark.parametrize("title", recipes())
def test_files_that_a_recipe_names_exist(title):
    names = re.findall(r"`((?:src|tests|docs|bench|training)/[\w./-]*|[\w-]+\.(?:md|toml))`", recipes()[title])
    assert len(names) >= 3
    for name in names:
        assert (ROOT / name).exists(), f"{title}: there is no {name}"


@pytest.mark.parametrize("title", recipes())
def test_recipe_has_a_test_command_and_checks_for_the_reviewer(title):
    text = recipes()[title]
    assert ".venv/dev/bin/pytest " in text
    assert "**The reviewer checks**" in text
    for arguments in re.findall(r"\.venv/dev/bin/pytest (.+)", text):
        for path in arguments.partition(" -k ")[0].split():
            assert (ROOT / path).exists(), f"{title}: there is no {path}"


def test_contributing_has_one_sentence_per_line():
    for line in CONTRIBUTING.splitlines():
        prose = re.sub(r"`[^`]*`|\([^)]*\)", "", line)
        is_code_or_table = line.startswith(("    ", "|", "$"))
        assert is_code_or_table or not re.search(r"[a-z)][.!?] [A-Z]", prose), line


def test_contributing_has_no_merge_conflict():
    assert not re.search(r"^(<<<<<<<|=======|>>>>>>>)", CONTRIBUTING, flags=re.MULTILINE)

"""The playground and the documentation page in a real browser: they show what the server replies, and load nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import get_args

import pytest

import podium
from commands import run_in_process
from fakes import FunctionScorer, WordOverlap
from lazy_modules import LazyModule
from podium.evaluation.collections import read_collection
from podium.server.http.keys import add_key
from podium.server.settings import Settings
from podium.types import ScoreKind, Scores
from serving import ServerThread

playwright = LazyModule("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

DOCUMENTS = ["the sea at night", "a ripe red apple", "the red sea", "an old red brick house"]
QUERY = "a red fruit"


@pytest.fixture(scope="module")
def server(mini):
    index = podium.EmbeddedIndex.create(None, text=["title", "content"])
    index.add([{"title": "Apples", "content": "a ripe red apple"}, {"title": "Seas", "content": "the sea at night"}])

    def fail(texts):
        raise podium.ProviderUnavailable("the provider is unavailable; try again later")

    def bill(texts):
        return Scores([0.5] * len(texts), billed={"search_units": 2})

    rerankers = {
        "podium-mini": mini,
        "words": podium.Reranker(WordOverlap()),
        "unavailable": podium.Reranker(FunctionScorer(fail)),
        "billed": podium.Reranker(FunctionScorer(bill, "sigmoid")),
    }
    with ServerThread(rerankers=rerankers, source=index) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    playwright.expect.set_options(timeout=30_000)  # a busy machine is slow
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    """The playground. The test fails if the page logs an error, or requests anything from another host."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], viewport={"width": 1200, "height": 900})
    page = context.new_page()
    messages = []
    urls = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: urls.append(request.url))
    page.goto(server.url)
    playwright.expect(page.locator("#models input")).to_have_count(4)
    yield page
    assert [text for text in messages if "the server responded with a status of" not in text] == []
    assert all(url.startswith((server.url, "data:", "blob:")) for url in urls), urls
    context.close()


def test_passage_that_decided_the_score_is_shown(page):
    """The passage is at the end of a text with characters that are two UTF-16 code units."""
    long_text = "\U0001f34e The sea is blue at night. " * 200 + "The best red fruit is a ripe apple."
    page.check("#passages")
    rank(page, [long_text, "the sea"])
    first = page.locator(".result").first
    playwright.expect(first.locator("mark.passage")).to_contain_text("The best red fruit is a ripe apple.")
    playwright.expect(first.locator(".more")).to_contain_text("tokens read")
    playwright.expect(first.locator(".cut")).to_have_count(0)
    playwright.expect(page.locator(".note").first).to_contain_text("1 of 2 documents were read in passages")


def rank(page, documents=DOCUMENTS, query=QUERY, models=("podium-mini",)):
    """Fill in the form, select the models, click on Rank, and wait for the results."""
    page.fill("#query", query)
    page.fill("#documents", "\n".join(documents))
    for box in page.locator("#models input").all():
        box.set_checked(box.get_attribute("value") in models)
    page.click("#rank")
    playwright.expect(page.locator("#columns section")).to_have_count(len(models))
    playwright.expect(page.locator("#status")).to_contain_text(re.compile("ranked in|failed"))


def shown_texts(page, column=0):
    """Return the documents' texts in a column, in order."""
    return page.locator("#columns section").nth(column).locator(".text").all_text_contents()


def save_judgements(page, path):
    """Save the page's judgements in a file, and return the collection that podium reads from it."""
    with page.expect_download() as download:
        page.click("text=Save judgements as CSV")
    download.value.save_as(path)
    return read_collection(path)


# Results


def test_results_show_order_scores_and_movement(page, mini):
    rank(page)
    ranking = mini.rerank(QUERY, DOCUMENTS)
    assert shown_texts(page) == [result.document for result in ranking]
    for result, item in zip(ranking, page.locator(".result").all(), strict=True):
        item_text = item.inner_text()
        assert f"{result.score:.4f}" in item_text
        assert f"{result.tokens} tokens read" in item_text
        ranks_up = result.index + 1 - result.rank
        if ranks_up == 0:
            assert "=" in item_text
        else:
            assert f"▲{ranks_up}" in item_text if ranks_up > 0 else f"▼{-ranks_up}" in item_text
    facts = page.locator(".facts").inner_text()
    assert f"{ranking.usage.tokens} tokens · nothing billed · scores are between 0 and 1, not calibrated" in facts


def test_rerankers_are_shown_side_by_side_even_if_one_fails(page):
    rank(page, models=("podium-mini", "unavailable", "billed"))
    sections = page.locator("#columns section")
    assert "the provider is unavailable; try again later" in sections.nth(1).inner_text()
    assert len(shown_texts(page, 0)) == len(shown_texts(page, 2)) == 4
    assert "2 search units billed" in sections.nth(2).inner_text()
    top_edges = [sections.nth(column).bounding_box()["y"] for column in range(3)]
    assert max(top_edges) - min(top_edges) < 1  # pixel
    playwright.expect(page.locator("#status")).to_have_text("1 of 3 rerankers failed")


def test_at_most_three_rerankers_can_be_selected(page):
    for box in page.locator("#models input").all():
        box.click()
    assert page.locator("#models input:checked").count() <= 3


def test_every_kind_of_score_is_described(browser):
    kinds = get_args(ScoreKind)
    scorers = {kind: FunctionScorer(lambda texts: Scores([0.5] * len(texts)), kind) for kind in kinds}
    with ServerThread(rerankers={kind: podium.Reranker(scorer) for kind, scorer in scorers.items()}) as server:
        page = browser.new_page()
        page.goto(server.url)
        playwright.expect(page.locator("#models input")).to_have_count(len(kinds))
        for kind in kinds:
            rank(page, models=(kind,))
            playwright.expect(page.locator("#columns h2")).to_have_text(kind)
            assert "undefined" not in page.locator(".facts").inner_text()
        page.close()


def test_truncated_and_empty_documents_are_marked(page):
    rank(page, ["red fruit " * 1000, '{"text": ""}'])
    assert "dropped" in page.locator(".result").first.inner_text()
    assert "no text, so not scored" in page.locator(".result").nth(1).inner_text()
    assert page.locator(".note").count() == 2


def test_documents_are_never_markup(page):
    malicious = ["<img src=x onerror=alert(1)>", "<script>document.title = 'changed'</script>", '{"text": "<b>bold</b>"}']
    rank(page, malicious)
    assert sorted(shown_texts(page)) == sorted([*malicious[:2], "<b>bold</b>"])
    assert page.title() == "podium"
    assert page.locator("#columns img, #columns script, #columns b").count() == 0


def test_explanation_marks_sentences_by_their_contributions(page, mini):
    sentences = ["The sea is cold.", "Apples are red fruit.", "Bricks are old.", "Night falls.", "It rains.", "Nobody comes."]
    rank(page, [" ".join(sentences), "the sea"])
    item = page.locator('.result[data-index="0"]')
    item.locator(".text").click()
    playwright.expect(item.locator("mark")).to_have_count(6)
    assert [text.strip() for text in item.locator("mark.s4").all_inner_texts()] == [sentences[1]]
    expected = mini.explain(QUERY, " ".join(sentences)).sentences
    assert item.locator("mark.s4").get_attribute("title") == f"contribution to the score: +{expected[1].contribution:.4f}"
    lowering = [sentence.text.strip() for sentence in expected if sentence.contribution < 0]
    assert [text.strip() for text in item.locator("mark.against").all_inner_texts()] == lowering
    assert "".join(shown_texts(page)[0].split()) == "".join(" ".join(sentences).split())


def test_explanation_of_a_single_sentence(page):
    rank(page)
    page.locator('.result[data-index="1"] .text').click()
    playwright.expect(page.locator('.result[data-index="1"]')).to_contain_text("the text is one sentence")


# Judgements


def test_judgements_give_ndcg_and_a_file_for_podium_eval(page, tmp_path):
    rank(page, models=("podium-mini", "words"))
    apple_index = shown_texts(page).index("a ripe red apple")
    first_column = page.locator("#columns section").first
    first_column.locator('[aria-label="relevant"]').nth(apple_index).click()
    first_column.locator('[aria-label="not relevant"]').nth(3).click()
    # In the input, the apple is second, so its nDCG is 1 / log2(3).
    assert page.locator(".ndcg").first.inner_text() == "1.000 (input order: 0.631)"
    judged = page.locator('#columns section:nth-child(2) .result[data-judged="1"] .text')
    assert judged.all_inner_texts() == ["a ripe red apple"]
    collection = save_judgements(page, tmp_path / "judged.csv")
    assert list(collection.queries.values()) == [QUERY]
    assert sorted(grade for grades in collection.qrels.values() for grade in grades.values()) == [0, 1]
    assert [collection.documents[name] for names in collection.candidates.values() for name in names] == DOCUMENTS
    code, output, errors = run_in_process("eval", tmp_path / "judged.csv", "--reranker", "podium-mini", "--metrics", "nDCG@10")
    assert code == 0
    assert "1 queries, 4 documents" in output
    assert "2 of 4 candidates have no judgment; they count as not relevant" in errors


def test_records_show_their_id_and_title(page, tmp_path):
    """Judgements are saved with the ids of the records."""
    records = [
        {"_id": "MED-1", "title": "Seas", "text": "the sea"},
        {"id": 7, "text": "a <b>red</b> apple"},
        {"text": "the red sea"},
    ]
    rank(page, map(json.dumps, records))
    sources = [item.locator(".source").all_inner_texts() for item in page.locator(".result").all()]
    assert sorted(sources) == [[], ["7"], ["MED-1 · Seas"]]
    page.locator('[data-index="1"] [aria-label="relevant"]').click()
    collection = save_judgements(page, tmp_path / "judged.csv")
    assert collection.documents == {"MED-1": "the sea", "7": "a <b>red</b> apple", "d3": "the red sea"}
    assert collection.qrels == {"q1": {"7": 1}}


def test_judgements_belong_to_their_request(page):
    rank(page)
    page.locator('[data-index="1"] [aria-label="relevant"]').click()
    rank(page, models=("words",))
    assert page.locator('.result[data-judged="1"]').count() == 1
    rank(page, query="another query")
    assert page.locator('.result[data-judged="1"]').count() == 0


# Input


@pytest.mark.parametrize(
    ("name", "content", "expected_texts"),
    [
        pytest.param("a.txt", "the sea\r\n\r\na red apple\n", ["a red apple", "the sea"], id="text"),
        pytest.param("a.jsonl", '{"text": "the sea"}\n"a red apple"\n', ["a red apple", "the sea"], id="JSON lines"),
        pytest.param("a.json", '[{"content": "the sea"}, "a red apple"]', ["a red apple", "the sea"], id="JSON"),
        pytest.param(
            "a.csv", 'text;year\nthe sea, at night;1\n"a red apple";2\n', ["a red apple", "the sea, at night"], id="semicolons"
        ),
        pytest.param("a.tsv", "text\tyear\nthe sea\t1\na red apple\t2\n", ["a red apple", "the sea"], id="TSV"),
        pytest.param(
            "a.csv",
            '\ufefftext,year\n"the ""sea"",\nat night",1\na red apple,2\n',
            ["a red apple", 'the "sea",\nat night'],
            id="quoted CSV",
        ),
    ],
)
def test_file_can_be_opened_or_dropped(page, name, content, expected_texts):
    page.set_input_files("#file", {"name": name, "mimeType": "text/plain", "buffer": content.encode()})
    playwright.expect(page.locator("#count")).to_have_text("2 documents")
    page.fill("#query", QUERY)
    page.click("#rank")
    playwright.expect(page.locator(".result")).to_have_count(2)
    assert [text.replace("\n", " ") for text in shown_texts(page)] == [text.replace("\n", " ") for text in expected_texts]
    page.fill("#documents", "")
    page.evaluate(
        """([name, content]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([content], name));
            const drop = new DragEvent("drop", { dataTransfer: transfer, bubbles: true });
            document.getElementById("documents").dispatchEvent(drop);
        }""",
        [name, content],
    )
    playwright.expect(page.locator("#count")).to_have_text("2 documents")


def test_invalid_file_is_an_error(page):
    page.set_input_files("#file", {"name": "a.json", "mimeType": "text/plain", "buffer": b"{"})
    playwright.expect(page.locator("#status")).to_have_class("error")


def test_missing_documents_are_an_error(page):
    page.fill("#documents", "")
    page.click("#rank")
    playwright.expect(page.locator("#status")).to_have_text("missing: documents")


def test_invalid_documents_are_an_error(page):
    page.fill("#documents", "a\n" + '{"no_text_here": 1}')
    page.click("#rank")
    playwright.expect(page.locator("#columns .note")).to_contain_text("document 1 has none of the fields")
    playwright.expect(page.locator("#status")).to_have_text("ranking failed")
    page.click("text=Save judgements as CSV")
    playwright.expect(page.locator("#status")).to_contain_text("judge some results first")


def test_index_can_be_searched(page):
    page.fill("#query", "red apple")
    page.click("#search")
    playwright.expect(page.locator("#status")).to_contain_text(re.compile(r"1 document found in .* ms and ranked"))
    playwright.expect(page.locator("#count")).to_have_text("1 document")
    assert page.input_value("#fields") == "title,content"
    document = json.loads(page.input_value("#documents"))
    assert (list(document), document["title"]) == (["id", "title", "content"], "Apples")
    assert shown_texts(page) == ["title: Apples\ncontent: a ripe red apple\n"]  # the text that was read
    page.fill("#query", "zzz")
    page.click("#search")
    playwright.expect(page.locator("#status")).to_have_text("the index has no documents for this query")
    playwright.expect(page.locator("#count")).to_have_text("1 document")


def test_keyboard_shortcuts(page):
    rank(page, models=("podium-mini", "words"))
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.querySelector('.rank').textContent") == "2"
    page.keyboard.press("r")
    assert page.evaluate("document.activeElement.dataset.judged") == "1"
    page.keyboard.press("l")
    assert page.evaluate("document.activeElement.closest('section').ariaLabel") == "words"
    page.keyboard.press("Enter")
    assert page.locator(".result.open").count() == 1
    page.keyboard.press("/")
    page.keyboard.type("x")
    assert page.input_value("#query") == QUERY + "x"
    page.keyboard.press("Control+Enter")
    playwright.expect(page.locator("#status")).to_contain_text("ranked in")


def test_key_is_requested_if_the_server_needs_one(browser, tmp_path):
    key = add_key(tmp_path / "keys.txt", "me")
    with ServerThread(Settings(keys_file=tmp_path / "keys.txt"), rerankers={"words": podium.Reranker(WordOverlap())}) as server:
        page = browser.new_page()
        page.goto(server.url)
        playwright.expect(page.locator("#status")).to_contain_text("no valid API key")
        page.click("#rank")
        playwright.expect(page.locator("#status")).to_contain_text("no valid API key")
        page.fill("#key", key)
        page.keyboard.press("Tab")
        playwright.expect(page.locator("#models input")).to_have_count(1)
        page.click("#rank")
        playwright.expect(page.locator(".result")).to_have_count(5)
        page.close()


# Exports


SPECIAL_DOCUMENTS = [
    'it\'s "quoted" $HOME `x` \\n',
    "a ripe red apple",
    '{"text": "the red sea", "year": 1999, "old": true, "none": null}',
]


@pytest.fixture
def special_ranking(page, mini):
    rank(page, SPECIAL_DOCUMENTS)
    return mini.rerank(QUERY, [*SPECIAL_DOCUMENTS[:2], json.loads(SPECIAL_DOCUMENTS[2])])


def test_request_can_be_copied_as_curl(page, special_ranking):
    page.click("text=Copy as curl")
    playwright.expect(page.locator("#status")).to_have_text("copied as curl")
    curl = page.evaluate("navigator.clipboard.readText()").rstrip()
    output = subprocess.run(["bash", "-c", f"{curl} -s"], capture_output=True, text=True, check=True).stdout
    assert [result["index"] for result in json.loads(output)["results"]] == [result.index for result in special_ranking]


def test_request_can_be_copied_as_python(page, special_ranking):
    page.click("text=Copy as Python")
    playwright.expect(page.locator("#status")).to_have_text("copied as python")
    code = page.evaluate("navigator.clipboard.readText()")
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    expected = [f"{result.rank:3}  {result.score:.4f}  {result.document}" for result in special_ranking]
    assert output.splitlines() == expected


# Layout


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark"), (800, "dark"), (1600, "light")])
@pytest.mark.parametrize("path", ["/", "/docs"], ids=["playground", "docs"])
def test_page_fits_the_screen(browser, server, path, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(server.url + path)
    if path == "/":
        playwright.expect(page.locator("#models input")).to_have_count(4)
        rank(page, ["a" * 300, *DOCUMENTS], models=("podium-mini", "words"))
    else:
        playwright.expect(page.locator("h2").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colors = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    text_brightness, background_brightness = (sum(map(int, color[len("rgb(") : -1].split(","))) for color in colors)
    assert (text_brightness > background_brightness) == (scheme == "dark")
    page.close()


def test_second_column_is_beside_the_first_on_a_phone(browser, server):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(server.url)
    playwright.expect(page.locator("#models input")).to_have_count(4)
    rank(page, models=("podium-mini", "words"))
    first, second = (page.locator("#columns section").nth(column).bounding_box() for column in range(2))
    assert first["y"] == second["y"]
    assert second["x"] < 390  # its left edge is visible
    page.close()


def test_documentation_shows_every_path(page, server):
    page.goto(f"{server.url}/docs")
    playwright.expect(page.locator("h2").first).to_have_text("POST /v2/rerank")
    content = page.locator("main").inner_text()
    for path in ("/v1/rerank", "/rerank", "/score", "/rank", "/search", "/v1/models", "/info", "/health", "/ready"):
        assert path in content
    assert "undefined" not in content

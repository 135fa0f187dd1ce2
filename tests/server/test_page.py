"""The playground, clicked through in a real browser: what it shows is what the server said, and nothing leaves the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
from playwright.sync_api import expect, sync_playwright

import podium
from commands import command
from fakes import FunctionScorer, WordOverlap
from podium.evaluation.collections import read_collection
from podium.server.http.keys import add_key
from podium.server.settings import Settings
from podium.types import Scores
from serving import Serving

expect.set_options(timeout=30_000)  # a busy machine is slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

DOCUMENTS = ["the sea at night", "a ripe red apple", "the red sea", "an old red brick house"]
QUERY = "a red fruit"


@pytest.fixture(scope="module")
def served(mini):
    index = podium.EmbeddedIndex.create(None, text=["title", "content"])
    index.add([{"title": "Apples", "content": "a ripe red apple"}, {"title": "Seas", "content": "the sea at night"}])

    def fail(texts):
        raise podium.ProviderUnavailable("the provider is not there; try again later")

    rerankers = {
        "podium-mini": mini,
        "words": podium.Reranker(WordOverlap()),
        "away": podium.Reranker(FunctionScorer(fail)),
        "billed": podium.Reranker(
            FunctionScorer(lambda texts: Scores([0.5] * len(texts), billed={"search_units": 2}), "sigmoid")
        ),
    }
    with Serving(rerankers=rerankers, source=index) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, served):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], viewport={"width": 1200, "height": 900})
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served.url)
    expect(page.locator("#models input")).to_have_count(4)
    yield page
    assert [text for text in said if "the server responded with a status of" not in text] == []
    assert all(url.startswith((served.url, "data:", "blob:")) for url in asked), asked
    context.close()


def rank(page, documents=DOCUMENTS, query=QUERY, models=("podium-mini",)):
    page.fill("#query", query)
    page.fill("#documents", "\n".join(documents))
    for box in page.locator("#models input").all():
        box.set_checked(box.get_attribute("value") in models)
    page.click("#rank")
    expect(page.locator("#columns section")).to_have_count(len(models))
    expect(page.locator("#status")).to_contain_text(re.compile("in all|failed"))


def texts(page, column=0):
    return page.locator("#columns section").nth(column).locator(".text").all_text_contents()


def test_it_shows_the_order_the_scores_and_how_far_each_moved(page, mini):
    rank(page)
    ranking = mini.rerank(QUERY, DOCUMENTS)
    assert texts(page) == [result.document for result in ranking]
    for result, item in zip(ranking, page.locator(".result").all(), strict=True):
        shown = item.inner_text()
        assert f"{result.score:.4f}" in shown
        assert f"{result.tokens} tokens read" in shown
        moved = result.index + 1 - result.rank
        assert (f"▲{moved}" if moved > 0 else f"▼{-moved}" if moved else "=") in shown
    facts = page.locator(".facts").inner_text()
    assert f"{ranking.usage.tokens} tokens · nothing billed · scores are between 0 and 1, not calibrated" in facts


def test_rerankers_stand_side_by_side_and_one_that_fails_hides_no_other(page):
    rank(page, models=("podium-mini", "away", "billed"))
    sections = page.locator("#columns section")
    assert "the provider is not there; try again later" in sections.nth(1).inner_text()
    assert len(texts(page, 0)) == len(texts(page, 2)) == 4
    assert "2 search units billed" in sections.nth(2).inner_text()
    tops = [sections.nth(at).bounding_box()["y"] for at in range(3)]
    assert max(tops) - min(tops) < 1


def test_no_more_than_three_at_once(page):
    for box in page.locator("#models input").all():
        box.click()
    assert page.locator("#models input:checked").count() <= 3


def test_judging_gives_ndcg_and_a_file_that_podium_eval_reads(page, tmp_path):
    rank(page, models=("podium-mini", "words"))
    apple = texts(page).index("a ripe red apple")
    page.locator("#columns section").first.locator('[aria-label="relevant"]').nth(apple).click()
    page.locator("#columns section").first.locator('[aria-label="not relevant"]').nth(3).click()
    figures = page.locator(".ndcg").all_inner_texts()
    assert figures[0].startswith("1.000 (as given 0.631)")  # 1 / log2(3): it was second
    pressed = page.locator('#columns section:nth-child(2) .result[data-judged="1"] .text')
    assert pressed.all_inner_texts() == ["a ripe red apple"]
    with page.expect_download() as download:
        page.click("text=Save judgements as CSV")
    download.value.save_as(tmp_path / "judged.csv")
    found = read_collection(tmp_path / "judged.csv")
    assert list(found.queries.values()) == [QUERY]
    assert sorted(grade for grades in found.qrels.values() for grade in grades.values()) == [0, 1]
    assert [found.documents[name] for names in found.candidates.values() for name in names] == DOCUMENTS
    code, out, err = command("eval", tmp_path / "judged.csv", "--reranker", "podium-mini", "--metrics", "nDCG@10")
    assert (code, "1 queries, 4 documents" in out) == (0, True)
    assert "2 of 4 candidates have no judgment; they count as not relevant" in err


def test_records_show_their_id_and_title_and_keep_the_id_in_the_csv(page, tmp_path):
    records = [
        {"_id": "MED-1", "title": "Seas", "text": "the sea"},
        {"id": 7, "text": "a <b>red</b> apple"},
        {"text": "the red sea"},
    ]
    rank(page, [json.dumps(each) for each in records])
    shown = [item.locator(".source").all_inner_texts() for item in page.locator(".result").all()]
    assert sorted(shown) == [[], ["7"], ["MED-1 · Seas"]]
    page.locator('[data-place="1"] [aria-label="relevant"]').click()
    with page.expect_download() as download:
        page.click("text=Save judgements as CSV")
    download.value.save_as(tmp_path / "judged.csv")
    found = read_collection(tmp_path / "judged.csv")
    assert found.documents == {"MED-1": "the sea", "7": "a <b>red</b> apple", "d3": "the red sea"}
    assert found.qrels == {"q1": {"7": 1}}


def test_on_a_phone_the_second_order_stands_beside_the_first(browser, served):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(served.url)
    expect(page.locator("#models input")).to_have_count(4)
    rank(page, models=("podium-mini", "words"))
    first, second = (page.locator("#columns section").nth(at).bounding_box() for at in range(2))
    assert first["y"] == second["y"]
    assert second["x"] < 390  # its edge can be seen
    page.close()


def test_what_was_asked_can_be_taken_away_and_run(page, served, mini):
    odd = [
        'it\'s "quoted" $HOME `x` \\n',
        "a ripe red apple",
        '{"text": "the red sea", "year": 1999, "old": true, "none": null}',
    ]
    rank(page, odd)
    ranking = mini.rerank(QUERY, [odd[0], odd[1], json.loads(odd[2])])
    page.click("text=Copy as curl")
    expect(page.locator("#status")).to_have_text("copied as curl")
    command = page.evaluate("navigator.clipboard.readText()")
    said = subprocess.run(["bash", "-c", f"{command.rstrip()} -s"], capture_output=True, text=True, check=True).stdout
    assert [each["index"] for each in json.loads(said)["results"]] == [result.index for result in ranking]
    page.click("text=Copy as Python")
    expect(page.locator("#status")).to_have_text("copied as python")
    code = page.evaluate("navigator.clipboard.readText()")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [f"{result.rank:3}  {result.score:.4f}  {result.document}" for result in ranking]


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        ("a.txt", "the sea\r\n\r\na red apple\n", ["a red apple", "the sea"]),
        ("a.jsonl", '{"text": "the sea"}\n"a red apple"\n', ["a red apple", "the sea"]),
        ("a.json", '[{"content": "the sea"}, "a red apple"]', ["a red apple", "the sea"]),
        ("a.csv", 'text;year\nthe sea, at night;1\n"a red apple";2\n', ["a red apple", "the sea, at night"]),
        ("a.tsv", "text\tyear\nthe sea\t1\na red apple\t2\n", ["a red apple", "the sea"]),
        ("a.csv", '\ufefftext,year\n"the ""sea"",\nat night",1\na red apple,2\n', ["a red apple", 'the "sea",\nat night']),
    ],
)
def test_a_file_can_be_opened_or_dropped(page, name, content, shown):
    page.set_input_files("#file", {"name": name, "mimeType": "text/plain", "buffer": content.encode()})
    expect(page.locator("#count")).to_have_text("2 documents")
    page.fill("#query", QUERY)
    page.click("#rank")
    expect(page.locator(".result")).to_have_count(2)
    assert [text.replace("\n", " ") for text in texts(page)] == [text.replace("\n", " ") for text in shown]
    page.fill("#documents", "")
    page.evaluate(
        """([name, content]) => {
            const held = new DataTransfer();
            held.items.add(new File([content], name));
            document.getElementById("documents").dispatchEvent(new DragEvent("drop", { dataTransfer: held, bubbles: true }));
        }""",
        [name, content],
    )
    expect(page.locator("#count")).to_have_text("2 documents")


def test_a_file_that_cannot_be_read_is_said(page):
    page.set_input_files("#file", {"name": "a.json", "mimeType": "text/plain", "buffer": b"{"})
    expect(page.locator("#status")).to_have_class("error")


def test_the_index_can_be_searched(page):
    page.fill("#query", "red apple")
    page.click("#search")
    expect(page.locator("#count")).to_have_text("1 document")
    expect(page.locator("#status")).to_contain_text("1 document found in")
    assert page.input_value("#fields") == "title,content"
    box = json.loads(page.input_value("#documents"))
    assert (list(box), box["title"]) == (["id", "title", "content"], "Apples")
    assert texts(page) == ["title: Apples\ncontent: a ripe red apple\n"]  # what is read, and so what is judged
    page.fill("#query", "zzz")
    page.click("#search")
    expect(page.locator("#status")).to_have_text("the index has nothing for this query")
    expect(page.locator("#count")).to_have_text("1 document")


def test_why_marks_the_sentences_and_the_passage(page, mini):
    sentences = ["The sea is cold.", "Apples are red fruit.", "Bricks are old.", "Night falls.", "It rains.", "Nobody comes."]
    rank(page, [" ".join(sentences), "the sea"])
    item = page.locator('.result[data-place="0"]')
    item.locator(".text").click()
    expect(item.locator("mark")).to_have_count(6)
    assert item.locator("mark.s4").all_inner_texts() == [sentences[1]]
    scores = mini.score(QUERY, sentences)
    assert f"{max(scores):.4f} (sigmoid) alone" == item.locator("mark.s4").get_attribute("title")
    assert sentences[1] in item.locator("mark.won").all_inner_texts()
    assert 1 < item.locator("mark.won").count() < 6
    assert "".join(texts(page)[0].split()) == "".join(" ".join(sentences).split())


def test_it_goes_without_a_mouse(page):
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
    expect(page.locator("#status")).to_contain_text("in all")


def test_documents_are_text_and_never_markup(page):
    evil = ["<img src=x onerror=alert(1)>", "<script>document.title = 'gone'</script>", '{"text": "<b>bold</b>"}']
    rank(page, evil)
    assert sorted(texts(page)) == sorted([*evil[:2], "<b>bold</b>"])
    assert page.title() == "podium"
    assert page.locator("#columns img, #columns script, #columns b").count() == 0


def test_what_is_missing_or_wrong_is_said(page):
    page.fill("#documents", "")
    page.click("#rank")
    expect(page.locator("#status")).to_have_text("what is missing: documents")
    page.fill("#documents", "a\n" + '{"no_text_here": 1}')
    page.click("#rank")
    expect(page.locator("#columns .note")).to_contain_text("document 1 has none of the fields")
    expect(page.locator("#status")).to_have_text("ranking failed")
    page.click("text=Save judgements as CSV")
    expect(page.locator("#status")).to_contain_text("judge some results first")


def test_cut_and_empty_documents_are_shown(page):
    rank(page, ["red fruit " * 1000, '{"text": ""}'])
    assert "dropped" in page.locator(".result").first.inner_text()
    assert "no text, so not scored" in page.locator(".result").nth(1).inner_text()
    assert page.locator(".note").count() == 2


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark"), (800, "dark"), (1600, "light")])
def test_it_fits_every_screen(browser, served, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(served.url)
    expect(page.locator("#models input")).to_have_count(4)
    rank(page, ["a" * 300, *DOCUMENTS], models=("podium-mini", "words"))
    page.goto(f"{served.url}/docs") if width == 360 else None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert (sum(map(int, ink[4:-1].split(","))) > sum(map(int, paper[4:-1].split(",")))) == (scheme == "dark")
    page.close()


def test_a_key_is_asked_for_where_one_is_needed(browser, tmp_path):
    key = add_key(tmp_path / "keys.txt", "me")
    with Serving(Settings(keys_file=tmp_path / "keys.txt"), rerankers={"words": podium.Reranker(WordOverlap())}) as server:
        page = browser.new_page()
        page.goto(server.url)
        expect(page.locator("#status")).to_contain_text("no valid API key")
        page.click("#rank")
        expect(page.locator("#status")).to_contain_text("no valid API key")
        page.fill("#key", key)
        page.keyboard.press("Tab")
        expect(page.locator("#models input")).to_have_count(1)
        page.click("#rank")
        expect(page.locator(".result")).to_have_count(5)
        page.close()


def test_the_docs_show_every_path(page, served):
    page.goto(f"{served.url}/docs")
    expect(page.locator("h2").first).to_have_text("POST /v2/rerank")
    said = page.locator("main").inner_text()
    for path in ("/v1/rerank", "/rerank", "/score", "/rank", "/search", "/v1/models", "/info", "/health", "/ready"):
        assert path in said

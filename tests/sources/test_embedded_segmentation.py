"""Text search in scripts without spaces, whose texts are segmented, and in indexes from before segmentation (layout 1)."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import podium
from capitals import source_keys
from environment import ROOT
from podium.errors import SourceError
from podium.sources.embedded.description import Description
from podium.sources.embedded.filter_terms import tag_of
from podium.sources.embedded.segmentation import has_unspaced_text, segmented, segmented_query
from podium.sources.embedded.texts import Texts

LAYOUT_1 = Path(__file__).parent / "layout-1"
"""An index that an earlier version of podium created: "Flour, water and 東京 salt" and "東京都は日本の首都です"."""

SENTENCES = {  # a sentence, a word in it, another sentence
    "chinese": ("黑豹队的防守只丢了308分，在联赛中排名第六", "联赛", "今天的天气非常好"),
    "japanese": ("東京都は日本の首都です", "首都", "りんごは赤い果物です"),
    "katakana": ("コンピューターを買いました", "コンピューター", "りんごは赤い果物です"),
    "thai": ("กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย", "เมืองหลวง", "แอปเปิ้ลสีแดงอร่อย"),
    "khmer": ("ភ្នំពេញជារាជធានីនៃប្រទេសកម្ពុជា", "រាជធានី", "ផ្លែប៉ោមក្រហម"),
    "lao": ("ວຽງຈັນເປັນນະຄອນຫຼວງຂອງປະເທດລາວ", "ນະຄອນຫຼວງ", "ໝາກໂປມສີແດງ"),
    "burmese": ("နေပြည်တော်သည်မြန်မာနိုင်ငံ၏မြို့တော်ဖြစ်သည်", "မြို့တော်", "ပန်းသီးအနီရောင်"),
}


def index_of(texts, *, layout=2, language="english"):
    """Return an index of texts in memory. Layout 1 is that of earlier versions of podium. The ids are 0, 1, …"""
    description = Description(fields=None, language=language, layout=layout)
    index = podium.EmbeddedIndex(None, description, Texts(None, description))
    index.add(texts, ids=[str(i) for i in range(len(texts))])
    return index


@pytest.mark.parametrize(("sentence", "word", "other"), SENTENCES.values(), ids=list(SENTENCES))
def test_word_inside_a_sentence_without_spaces_matches(sentence, word, other):
    texts = [other, sentence, "an English sentence"]
    assert source_keys(index_of(texts).search(word, 9))[0] == "1"
    assert "2" not in source_keys(index_of(texts).search(word, 9))


def test_layout_1_does_not_find_words_inside_chinese_text():
    sentence, word, other = SENTENCES["chinese"]
    assert index_of([sentence, other], layout=1).search(word, 9) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("iphone", {"0"}, id="latin-word"),
        pytest.param("iPhones", {"0"}, id="stemmed-latin-word"),
        pytest.param("手机", {"0"}, id="word-before-latin"),
        pytest.param("2024", {"0"}, id="number"),
        pytest.param("２０２４", {"0"}, id="full-width-number"),
        pytest.param("壳", {"0"}, id="one-character"),
        pytest.param("最", {"0"}, id="first-character"),
        pytest.param("ガス", {"1"}, id="katakana"),
        pytest.param("ｶﾞｽ", {"1"}, id="half-width-katakana"),
        pytest.param("ｐｉｐｅ", {"1"}, id="full-width-latin"),
        pytest.param("壳手", set(), id="pair-in-another-order"),
        pytest.param("手机 pipe", {"0", "1"}, id="both"),
    ],
)
def test_text_in_several_scripts_can_be_searched(query, expected):
    index = index_of(["最好的iPhone手机壳，2024年", "ガスpipe"])
    assert set(source_keys(index.search(query, 9))) == expected


def test_more_pairs_of_the_query_score_higher():
    index = index_of(["東京の天気", "京都の天気と東京都", "東の京"])
    assert source_keys(index.search("東京都", 9)) == ["1", "0"]


@pytest.mark.parametrize(
    "text", ["", "plain English, naïve façade", "Привет мир", "한국어 검색", "عربى", "हिन्दी", "ελληνικά", "☃ 🎉"]
)
def test_other_scripts_stay_as_they_are(text):
    assert segmented(text) == text
    assert segmented_query(text) == text


def test_pairs_and_characters_of_a_document():
    assert segmented("a東京都b").split() == ["a", "東京", "京都", "東", "京", "都", "b"]
    assert segmented_query("a東京都b 壳").split() == ["a", "東京", "京都", "b", "壳"]


@pytest.mark.parametrize(
    ("text", "letter_count"),
    [
        pytest.param("น้ำ", 2, id="thai-vowel-and-tone-mark"),
        pytest.param("ခ္မ", 1, id="burmese-stacked-letter"),
        pytest.param("ខ្មែ", 1, id="khmer-stacked-letter"),
        pytest.param("か\u3099", 1, id="voiced-kana-of-two-code-points"),
    ],
)
def test_signs_belong_to_the_letter_before_them(text, letter_count):
    """A query has the pairs of letters, or a single letter. A document has the pairs and the letters."""
    assert len(segmented_query(text).split()) == max(1, letter_count - 1)
    assert len(segmented(text).split()) == letter_count - 1 + letter_count


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("a é東京かｶﾞน้ำเក្មெ်ມ1。\u3099\u0e49\u1039\u17d2\ud83d"), max_size=30))
def test_words_of_a_query_are_words_of_the_same_document(text):
    assert set(segmented_query(text).split()) <= set(segmented(text).split())


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x24F)))
def test_latin_text_is_never_changed(text):
    assert segmented(text) == text


def english_lines():
    files = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if re.search(r"\w", line) and not has_unspaced_text(line)]


def test_results_and_scores_of_english_text_do_not_depend_on_the_layout():
    lines = english_lines()
    assert len(lines) > 500
    indexes = [index_of(lines, layout=layout) for layout in (1, 2)]
    for query in lines[::10]:
        results = [[(hit["source_key"], hit["source_score"]) for hit in index.search(query, 50)] for index in indexes]
        assert results[0] == results[1]


@pytest.mark.parametrize(
    "text", ["東" * 200_000, "ก้" * 100_000, "\u0e49" * 100_000, "東京 " * 50_000], ids=["han", "thai", "signs", "words"]
)
def test_huge_text_can_be_added_and_searched(text):
    index = index_of([text, "other"])
    index.search(text, 2)
    assert len(index) == 2


@pytest.fixture
def layout_1(tmp_path):
    shutil.copytree(LAYOUT_1, tmp_path / "index")
    return tmp_path / "index"


def test_index_of_an_earlier_version_works_as_before(layout_1):
    index = podium.EmbeddedIndex.open(layout_1)
    assert source_keys(index.search("flour", 9)) == ["1"]
    assert source_keys(index.search("東京", 9)) == ["1"]
    index.add([{"title": "Kyoto", "text": "京都 is a city 市場"}], ids=["3"])
    index.delete(["1"])
    reopened = podium.EmbeddedIndex.open(layout_1)
    assert source_keys(reopened.search("city 京都", 9)) == ["3"]
    assert len(reopened) == 2
    assert json.loads((layout_1 / "podium-index.json").read_text())["layout"] == 1


def test_search_in_an_index_of_an_earlier_version_has_a_note(layout_1):
    index = podium.EmbeddedIndex.open(layout_1)
    (note,) = index.search("首都", 9).notes
    assert "earlier version of podium" in note
    assert "index the documents again into another folder" in note
    assert not index.search("flour", 9).notes


def test_index_of_an_earlier_version_cannot_be_filtered(layout_1):
    index = podium.EmbeddedIndex.open(layout_1)
    with pytest.raises(SourceError, match="earlier version of podium and cannot be filtered; index the documents again"):
        index.search("flour", 9, filter="@n:[1 2]")


@pytest.mark.parametrize("layout", [0, 3, "2", None], ids=str)
def test_index_of_another_layout_is_refused(layout_1, layout):
    description = json.loads((layout_1 / "podium-index.json").read_text()) | {"layout": layout}
    (layout_1 / "podium-index.json").write_text(json.dumps(description))
    with pytest.raises(SourceError, match="this version of podium reads 1 to 2; install the version"):
        podium.EmbeddedIndex.open(layout_1)


def test_new_index_is_not_read_by_versions_that_know_layout_1_only(tmp_path):
    """Such versions would index a sentence without spaces as one word."""
    podium.EmbeddedIndex.create(tmp_path / "index")
    assert json.loads((tmp_path / "index" / "podium-index.json").read_text())["layout"] == 2


def test_long_runs_of_marks_are_read_in_parts():
    """Normalizing this text at once would take an hour: the time grows with the square of the number of successive marks."""
    marks = "\u0e48\u0e38" * 1_000_000
    assert segmented("\u0e01" + marks).strip()
    assert len(tag_of("a" + "\u0301\u0316" * 1_000_000)) > 1_000_000

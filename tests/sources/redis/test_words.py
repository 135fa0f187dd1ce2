"""Words: podium splits texts as RediSearch does, and any text can be a query."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.documents import texts_of
from podium.sources.redis.words import has_escaped_word, tokens, words
from redisearch import DOCUMENTS, WITH_CAPITAL, RedisUnderTest, ids_of

STOP_WORDS = {"the", "of", "is", "as", "and", "in", "for"}
QUERIES = [
    "capital",
    'what\'s the "capital" of: D.C. (really)?',
    "capital | of -states @title:bread",
    "@year:[0 +inf] *",
    "capital*",
    "%%capital%% ~nevada",
    "-capital",
    "the of is",
    "the",
    "😀 capital 東京",
    "\\ capital \\",
    "as inf nan 1e5 -1 0x1 null",
    "capital\x00\x01\x7f\n\t\u2028\u00a0",
    "_ __ -",
    "=>[KNN 5 @embedding $vector]",
    "capital => { $weight: 0 }",
    "$vector $0 {x} [1 2] <>^",
    "c++ c# a.b/c don't don’t",
    "_\xa0capital",
    "“ ” “_” “capital” ,”",
    "capital " * 10_000,
    " ".join(f"word{i}" for i in range(9_999)) + " capital",
    "x" * 20_000,
]


@pytest.mark.recording("any-text")
def test_text_of_a_query_is_never_syntax(server):
    """A query finds the documents that have one of its words, whatever else it contains."""
    server.load()
    source = server.source(mode="text", text=["content", "title"])
    for query in QUERIES:
        query_words = {word.lower() for word in words(query)}
        expected = WITH_CAPITAL if "capital" in query_words else set()
        for i, document in enumerate(DOCUMENTS):
            text = f"{document['content']} {document['title']}".lower()
            if query_words & set(tokens(text)) - STOP_WORDS:
                expected = expected | {f"d{i}"}
        assert set(ids_of(source.search(query, 5))) == expected, query[:50]


FRAGMENTS = st.sampled_from(
    [
        *("_", "__", "_a", "a_", "\xa0", "\u2003", "\u3000", "\u2028", "\x85", "\x1c", "\x00", "\n", " ", "\u200b", "\ufeff"),
        *("“", "”", "’", "…", "—", "，", "＿", "‿", "ª", "Ⅷ", "№", "ß", "İ", "ﬁ"),
        *("\u0301", "\u061c", "\ud800", "\ufffe", "東京", "😀"),
        *("-", "|", "~", "(", ")", "{", "}", "[", "]", '"', "'", "*", "%", "\\", "#", ":"),
        *("@content:", "=>", "$weight", "$vector"),
        *("capital", "the", "AND", "or", "inf", "nan", "0x1", "1e5", "ismissing(@title)", "w*"),
    ]
)
TEXTS = st.lists(FRAGMENTS | st.text(max_size=6), min_size=1, max_size=8).map("".join)


def test_generated_text_is_a_query(real_url):
    with contextlib.closing(RedisUnderTest(real_url, 3)) as server:
        server.load(embed=None)
        source = server.source(text={"content": 2, "title": 1}, embed=None)

        @settings(max_examples=300, deadline=None, database=None)
        @given(TEXTS.filter(lambda text: texts_of([text]) != [None]))
        def search(text):
            source.search(text, 5)

        search()


@pytest.mark.parametrize(
    "text",
    ["statin…", "statin’s", "statin—", "«statin»", "„statin“", "¿statin?", "statin。", "statin，cancer", "statin–cancer"],
)
def test_words_end_at_typographic_and_full_width_punctuation(text):
    assert "statin" in words(text)
    assert tokens(text)[0] in words(text)  # as RediSearch indexes it in a document


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("don’t stop", ["don’t", "don", "t", "stop"]),
        ("naïve col·lecció", ["naïve", "col·lecció", "col", "lecció"]),
        ("what does “_” mean", ["what", "does", "“_”", "mean"]),
        ("_\xa0foo _bar", ["foo", "_bar"]),
    ],
)
def test_words_of_a_query(query, expected):
    assert words(query) == expected


@pytest.mark.recording("typographic")
def test_typographic_punctuation_finds_both_spellings(server):
    documents = [{"content": "a statin helps"}, {"content": "the statin’s effect"}, {"content": "so-called “statin”"}]
    server.load(documents, ["plain", "apostrophe", "quoted"], embed=None)
    source = server.source(mode="text", embed=None)
    for query, expected in [
        ("statin’s", {"plain", "apostrophe"}),
        ("“statin”", {"plain", "quoted"}),
        ("statin，", {"plain"}),
    ]:
        assert set(ids_of(source.search(query, 5))) == expected, query


ESCAPED = [
    *(r"C:\Users\ann", r"costs \$100", r"50\% off", r"foo \ bar", r"see \(2020\)", r"line\nbreak", r"x\\y"),
    r"\\server\share",
]
NOT_ESCAPED = ["plain words", r"\alpha + \beta", r"\textbf{bold}", "last\\", r"between \\ spaces"]


@pytest.mark.recording("backslashes")
def test_documents_with_words_that_a_backslash_hides_are_counted(server):
    texts = [*ESCAPED, *NOT_ESCAPED]
    ids = [f"t{i}" for i in range(len(texts))]
    index = server.load([{"content": text, "title": "backslash"} for text in texts], ids, embed=None)
    assert index.notes[0].startswith(f"{len(ESCAPED)} documents have a backslash beside a word in content, title: ")
    source = server.source(mode="text", embed=None)
    for document_id, text in zip(ids, texts, strict=True):
        hidden = [word for word in words(text) if document_id not in ids_of(source.search(word, 20))]
        assert bool(hidden) == (text in ESCAPED) == has_escaped_word(text), text


@pytest.mark.recording("nul-characters")
def test_documents_with_a_nul_character_are_counted(server):
    index = server.load([{"content": "zebra\0giraffe"}, {"content": "giraffe"}], ["a", "b"], embed=None)
    assert index.notes[0].startswith("1 documents have a NUL character in content, title: ")
    source = server.source(mode="text", embed=None)
    assert ids_of(source.search("zebra", 5)) == ["a"]
    assert ids_of(source.search("giraffe", 5)) == ["b"]

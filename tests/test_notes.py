"""The notes of many queries become a few sentences."""

from __future__ import annotations

from podium.notes import NoteTotals

TRUNCATION = "documents are longer than the model reads; see dropped_tokens"
LONG_QUERIES = [f"the query is longer than the model reads; {count} of its tokens were dropped" for count in (3, 295)]
NOTES_OF_QUERIES = [
    (f"2 of 100 {TRUNCATION}", "100 of 100 scores were remembered", LONG_QUERIES[0]),
    (f"1 of 1,090 {TRUNCATION}",),
    (LONG_QUERIES[1],),
]
SENTENCES = (
    f"3 of 1,190 {TRUNCATION} (in 2 of 3 queries)",
    "100 of 100 scores were remembered (in 1 of 3 queries)",
    f"{LONG_QUERIES[0]} (in 2 of 3 queries)",
)


def totals_of(notes_of_queries):
    totals = NoteTotals()
    for notes in notes_of_queries:
        totals.add(notes)
    return totals


def test_numbers_in_notes_are_summed():
    assert totals_of(NOTES_OF_QUERIES).sentences(3) == SENTENCES


def test_totals_of_parts_are_joined_and_stored():
    parts = [totals_of(NOTES_OF_QUERIES[:1]), totals_of(NOTES_OF_QUERIES[1:])]
    joined = NoteTotals()
    for part in parts:
        joined.update(NoteTotals.from_json(part.to_json()))
    assert joined.sentences(3) == SENTENCES


def test_note_of_a_single_query_is_unchanged():
    assert totals_of([("one note",)]).sentences(1) == ("one note",)

"""Is it better? Collections, runs, metrics and statistics against hand-worked cases, ir_measures and scipy; and the command."""

from __future__ import annotations

import gzip
import json
import re
import sqlite3

import ir_measures
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import podium
from commands import command
from fakes import FunctionScorer, WordOverlap
from fruit import QRELS, QUERIES
from podium.cli.first_stages import first_stage_name, without_passwords
from podium.cli.options import fitting
from podium.compose.cached import CachedScorer
from podium.compose.stores.sqlite import SqliteScores
from podium.errors import InvalidInput, PodiumError
from podium.evaluation import collections, evaluate, metrics, report, runs, significance
from podium.types import Scores


def test_a_beir_folder(folder):
    found = collections.read_collection(folder)
    assert found.name == "fruit"
    assert found.documents == {
        "d1": "Apples a ripe red apple",
        "d2": "the red sea at night",
        "d3": "a green pear",
        "d4": "red red wine",
    }
    assert found.queries == {"q1": "red fruit", "q2": "night sea"}
    assert found.qrels == {"q1": {"d1": 2, "d3": 1, "d4": 0}, "q2": {"d2": 1}}
    packed = folder / "corpus.jsonl"
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    (folder / "candidates.tsv").write_text("query-id\tcorpus-id\nq1\td1\nq1\td4\n", encoding="utf-8")
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels" / "test.tsv")
    again = collections.read_collection(folder)
    assert (again.documents, again.qrels, again.candidates) == (found.documents, found.qrels, {"q1": ["d1", "d4"]})


def test_trec_files(folder, tmp_path):
    topics, judged = tmp_path / "topics", tmp_path / "qrels.txt"
    topics.write_text(
        "<top>\n<num> Number: q1\n<title> red\n fruit\n<desc> Description:\nlong\n</top>\n<top><num>q2<title>sea</top>"
    )
    judged.write_text("q1 0 d1 2\nq1 0 d3 -1\n\nq2 0 d2 1\n")
    found = collections.read_collection(folder, queries=topics, qrels=judged)
    assert found.queries == {"q1": "red fruit", "q2": "sea"}
    assert found.qrels == {"q1": {"d1": 2, "d3": -1}, "q2": {"d2": 1}}
    (tmp_path / "q.tsv").write_text("q1\tred fruit\nq2\tthe sea\n")
    assert collections.read_queries(tmp_path / "q.tsv") == {"q1": "red fruit", "q2": "the sea"}


def test_a_csv_of_ones_own(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text('query,document,grade\nred,"apple, ripe",2\nred,sea,0\nblue,sea,1\n', encoding="utf-8")
    found = collections.read_collection(file)
    assert found.documents == {"d1": "apple, ripe", "d2": "sea"}
    assert found.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert found.candidates == {"q1": ["d1", "d2"], "q2": ["d2"]}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("qrels.tsv", "q1\td1\n", "holds no judgments|line 1"),
        ("qrels.tsv", "q1\td1\t1\nq1\td2\thigh\n", "line 2: a judgment is query, document"),
        ("qrels.tsv", "q9\td1\t1\n", "no query has a relevant document"),
        ("qrels.tsv", "", "holds no judgments"),
        ("corpus.jsonl", "{", "line 1: not valid JSON"),
        ("corpus.jsonl", '{"_id": 1}', "line 1: has no 'text'"),
        ("corpus.jsonl", '{"text": "x"}', "has no '_id'"),
        ("queries.jsonl", "no tab here", "an id, a tab and the text"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(folder, name, content, says):
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput, match=says):
        collections.read_collection(folder)


def test_what_is_missing_is_said(tmp_path):
    for path, says in (
        (tmp_path / "none", "neither a folder"),
        (tmp_path, "has none of qrels.tsv"),
        (tmp_path / "a.csv", "cannot read"),
    ):
        with pytest.raises(InvalidInput, match=says):
            collections.read_collection(path)
    (tmp_path / "a.csv").write_text("q,d\n")
    with pytest.raises(InvalidInput, match="no column query, document, grade; it has q, d"):
        collections.read_collection(tmp_path / "a.csv")


scores = st.floats(-1e6, 1e6, width=32)
found_runs = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]), st.dictionaries(st.sampled_from("abcdefgh"), scores, min_size=1), min_size=1
)


@settings(deadline=None)
@given(found_runs)
def test_a_run_reads_back_in_its_order_whatever_ties(tmp_path_factory, run):
    file = tmp_path_factory.mktemp("runs") / "a.run"
    ordered = {query: dict(sorted(found.items(), key=lambda each: -each[1])) for query, found in run.items()}
    runs.write_run(file, ordered, "a name")
    again = runs.read_run(file)
    assert {query: list(found) for query, found in again.items()} == {query: list(found) for query, found in ordered.items()}
    for found in again.values():
        assert len({np.float32(score) for score in found.values()}) == len(found)


@pytest.mark.parametrize("line", ["q1 Q0 d1", "q1 Q0 d1 first 2.0 x", "q1 Q0 d1 1 nan x", "q1 Q0 d1 1 2 x\nq1 Q0 d1 2 1 x"])
def test_a_damaged_run_is_refused(tmp_path, line):
    (tmp_path / "a.run").write_text(line)
    with pytest.raises(InvalidInput, match=r"line 1|a document twice"):
        runs.read_run(tmp_path / "a.run")


def test_metrics_by_hand():
    qrels = {"q1": {"d1": 2, "d3": 1}, "q2": {"d2": 1}}
    run = {"q1": {"d2": 3.0, "d1": 2.0, "d3": 1.0}}
    values = metrics.per_query(("nDCG@10", "RR@10", "R@2"), qrels, run)
    ideal = 2 + 1 / np.log2(3)
    assert values["nDCG@10"]["q1"] == pytest.approx((2 / np.log2(3) + 1 / np.log2(4)) / ideal)
    assert values["RR@10"] == {"q1": 0.5, "q2": 0.0}
    assert values["R@2"] == {"q1": 0.5, "q2": 0.0}
    assert metrics.judged(qrels, run) == {"q1": pytest.approx(2 / 3), "q2": 1.0}
    with pytest.raises(InvalidInput, match="knows no metric 'nDCGG@10'"):
        metrics.checked_metrics(["nDCGG@10"])


def test_equal_scores_keep_the_order_of_the_run():
    """Where trec_eval left to itself would take the document whose name comes last."""
    values = metrics.per_query(("RR@10",), {"q": {"a": 1}}, {"q": {"a": 1.0, "z": 1.0}})
    assert values["RR@10"]["q"] == 1.0


def test_a_difference_by_hand():
    """Five queries, +0.1 each: of 32 changes of signs two are as far from nothing."""
    each = significance.difference(dict.fromkeys("abcde", 0.6), dict.fromkeys("abcde", 0.5))
    assert (each.mean, each.low, each.high) == (pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1))
    assert each.p == pytest.approx(2 / 32)
    assert (each.wins, each.ties, each.losses) == (5, 0, 0)
    none = significance.difference({"a": 0.5, "b": 0.2}, {"a": 0.5, "b": 0.2})
    assert (none.p, none.mean, none.ties) == (1.0, 0.0, 2)


@pytest.mark.parametrize("count", [8, 12, 40, 300])
def test_p_and_interval_are_scipys(count):
    draw = np.random.default_rng(count)
    gains = draw.normal(0.03, 0.1, count)
    gains[: count // 4] = 0
    reference = scipy.stats.permutation_test(
        (gains, np.zeros(count)), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=20_000, rng=1
    )
    assert significance.randomisation(gains) == pytest.approx(reference.pvalue, abs=0.015)
    low, high = significance.interval(gains)
    booted = scipy.stats.bootstrap((gains,), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert (low, high) == pytest.approx((booted.low, booted.high), abs=0.1 * (booted.high - booted.low))


def test_the_same_numbers_give_the_same_answer():
    gains = np.random.default_rng(0).normal(size=100)
    assert significance.randomisation(gains) == significance.randomisation(gains)
    assert significance.interval(gains) == significance.interval(gains)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm(ps):
    corrected = significance.holm(ps)
    assert all(p <= c <= 1 for p, c in zip(ps, corrected, strict=True))
    order = np.argsort(ps, kind="stable")
    assert [corrected[at] for at in order] == sorted(corrected)


def test_holm_by_hand():
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def evaluated(folder):
    collection = collections.read_collection(folder)
    found = {"q1": [("d4", 3.0), ("d1", 2.0), ("d3", 1.0)], "q2": [("d2", 1.0)]}
    first = evaluate.first_run(collection, lambda query, text, count: found[query][:count], 100, lambda done: None)
    return collection, first


def test_an_evaluation_by_hand(folder):
    collection, first = evaluated(folder)
    fruit = FunctionScorer(lambda texts: Scores([float("apple" in text) for text in texts]))
    system = evaluate.rerank_run(collection, first.run, podium.Reranker(fruit), "fruit", lambda done: None)
    assert list(system.run["q1"]) == ["d1", "d4", "d3"]
    best = evaluate.ceiling(collection, first.run)
    assert list(best.run["q1"]) == ["d1", "d3", "d4"]
    result = evaluate.compared(collection, first, [system, best], ("nDCG@10",))
    assert result.mean("first stage", "nDCG@10") < result.mean("fruit", "nDCG@10") < result.mean("ceiling", "nDCG@10") == 1
    assert set(result.differences) == {"fruit"}
    assert (result.differences["fruit"].wins, result.differences["fruit"].ties) == (1, 1)
    helped, hurt = evaluate.movements(result, system, 5)
    assert [(each.query, each.rank_before, each.rank_after) for each in helped] == [("q1", 2, 1)]
    assert hurt == []


def test_scores_are_asked_for_once(tmp_path):
    calls = []

    def lengths(texts):
        calls.append(list(texts))
        return Scores([float(len(text)) for text in texts], tokens=[1] * len(texts), dropped_tokens=[0] * len(texts))

    def scorer(identity, store):
        function = FunctionScorer(lengths)
        function.identity = identity
        return CachedScorer(function, store)

    store = SqliteScores(tmp_path / "s.db")
    first = scorer("a", store).score("q", ["aa", "b", "aa"])
    assert (list(first.values), first.remembered) == ([2.0, 1.0, 2.0], 0)
    assert calls == [["aa", "b"]]
    second = scorer("a", store).score("q", ["b", "ccc"])
    assert (list(second.values), second.remembered) == ([1.0, 3.0], 1)
    assert calls[1:] == [["ccc"]]
    assert list(scorer("b", store).score("q", ["b"]).values) == [1.0]
    assert list(scorer("a", SqliteScores(tmp_path / "s.db")).score("other", ["b"]).values) == [1.0]
    assert calls[2:] == [["b"], ["b"]]
    store.close()


def test_an_interrupted_evaluation_goes_on_without_paying_twice(folder, tmp_path):
    collection, first = evaluated(folder)
    paid = []

    class Meter(WordOverlap):
        def score(self, query, texts):
            if len(paid) == 1:
                raise KeyboardInterrupt
            paid.append(query)
            return super().score(query, texts)

    def run():
        store = SqliteScores(tmp_path / "s.db")
        scorer = CachedScorer(Meter(), store)
        try:
            return evaluate.rerank_run(collection, first.run, podium.Reranker(scorer), "m", lambda done: None)
        finally:
            store.close()

    with pytest.raises(KeyboardInterrupt):
        run()
    assert paid == ["red fruit"]
    paid.append("not interrupted again")
    system = run()
    assert paid == ["red fruit", "not interrupted again", "night sea"]
    assert len(system.seconds) == 1


def test_a_file_that_holds_no_scores_is_refused(tmp_path):
    (tmp_path / "s.db").write_text("not a database, " * 100)
    with pytest.raises(PodiumError, match="cannot store scores"):
        SqliteScores(tmp_path / "s.db")
    with sqlite3.connect(tmp_path / "fine.db"):
        SqliteScores(tmp_path / "fine.db").close()


def test_the_command_agrees_with_ir_measures_on_the_runs_it_writes(folder, tmp_path):
    code, out, err = command(
        "eval", folder, "--reranker", "podium-mini", "--runs", tmp_path / "runs", "--metrics", "nDCG@10,AP"
    )
    assert code == 0, err
    table = {
        line.split()[0]: line.split()[-2:]
        for line in out.partition("Δ")[0].splitlines()
        if re.match(r"(first stage|podium-mini|ceiling) +\d", line)
    }
    qrels = {"q1": {"d1": 2, "d3": 1, "d4": 0}, "q2": {"d2": 1}}
    for name, row in (("first-stage", "first"), ("podium-mini", "podium-mini")):
        written = list(ir_measures.read_trec_run(str(tmp_path / "runs" / f"{name}.run")))
        by_hand = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.AP], qrels, written)
        assert [f"{by_hand[each]:.4f}" for each in (ir_measures.nDCG @ 10, ir_measures.AP)] == table[row]
    assert "95 % interval" in out
    assert "better/same/worse" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_compare(folder, tmp_path):
    for name, best in (("a", ("d4", "d1")), ("b", ("d1", "d4"))):
        lines = [f"q1 Q0 {document} {rank} {1 / rank} {name}" for rank, document in enumerate(best, start=1)]
        (tmp_path / f"{name}.run").write_text("\n".join(lines))
    asked = ["compare", tmp_path / "a.run", tmp_path / "b.run", "--qrels", folder / "qrels.tsv", "--metrics", "RR@10"]
    code, out, err = command(*asked, "--queries", folder / "queries.jsonl")
    assert (code, err) == (0, "note: 1 of 2 judged queries are in no run and were left out\n")
    assert re.search(r"^a +0\.5000", out, re.MULTILINE)
    assert re.search(r"^b +1\.0000", out, re.MULTILINE)
    assert re.search(r"q1 +0\.50 → 1\.00 +2 → 1 +red fruit", out)
    for arguments, says in (
        ([tmp_path / "a.run"], "two or more runs"),
        ([tmp_path / "a.run", tmp_path / "none.run"], "cannot read"),
    ):
        code, _, err = command("compare", *arguments, "--qrels", folder / "qrels.tsv")
        assert code == 2
        assert says in err


def test_the_page_holds_everything_and_asks_for_nothing(folder, tmp_path):
    code, _, err = command("eval", folder, "--reranker", "podium-mini", "--report", tmp_path / "r.html")
    assert code == 0, err
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href|url\()=?.?(https?:)?//", page)
    for part in (
        "95 % interval",
        "Relevant documents found",
        "of each query against",
        "Where scores lie",
        "Share of relevant documents at each score",
    ):
        assert part in page
    assert page.count("<svg") == page.count("</svg>")
    code, _, err = command("eval", folder, "--report", tmp_path / "none" / "r.html")
    assert code == 1
    assert "cannot write" in err


def test_reliability_by_hand():
    found = report.reliability([0.05, 0.15, 0.95, 1.0], [False, True, True, False])
    assert found == [(0.05, 0.0, 1), (0.15, 1.0, 1), (pytest.approx(0.975), 0.5, 2)]


def test_other_first_stages(folder, tmp_path):
    (tmp_path / "a.run").write_text("q1 Q0 d3 1 2.0 x\nq1 Q0 d1 2 1.0 x\n")
    code, out, err = command("eval", folder, "--run", tmp_path / "a.run", "--metrics", "RR@10")
    assert code == 0, err
    assert re.search(r"first stage +0\.5000", out)
    assert command("index", folder / "corpus.jsonl", "--to", tmp_path / "i", "--id", "_id", "--text", "text")[0] == 0
    code, out, err = command("eval", folder, "--in", tmp_path / "i", "--metrics", "RR@10")
    assert code == 0, err
    (tmp_path / "b.run").write_text("q1 Q0 unknown 1 2.0 x\n")
    for arguments, says in (
        (["--run", tmp_path / "b.run"], "documents that the collection lacks"),
        (["--run", tmp_path / "a.run", "--in", tmp_path / "i"], "name one"),
        (["--metrics", "nope"], "knows no metric"),
        (["--reranker", "nope"], "there is no model"),
    ):
        code, _, err = command("eval", folder, *arguments)
        assert code == 2
        assert says in err


def written_runs(folder, tmp_path):
    """Let podium eval write the runs of a collection with more judgments than it has queries."""
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, QUERIES[:2])), encoding="utf-8")
    more = "".join(f"other{number}\td1\t1\n" for number in range(50))
    (folder / "qrels.tsv").write_text(QRELS + more, encoding="utf-8")
    code, out, err = command(
        "eval", folder, "--reranker", "podium-mini", "--runs", tmp_path / "runs", "--metrics", "nDCG@10,RR@10"
    )
    assert code == 0, err
    return out, [tmp_path / "runs" / "first-stage.run", tmp_path / "runs" / "podium-mini.run"]


def test_compare_agrees_with_eval_on_the_runs_that_eval_wrote(folder, tmp_path):
    evaluated_by_eval, files = written_runs(folder, tmp_path)
    means = re.search(r"first stage +(\S+) +(\S+)\npodium-mini +(\S+) +(\S+)", evaluated_by_eval).groups()
    asked = ["compare", *files, "--qrels", folder / "qrels.tsv", "--metrics", "nDCG@10,RR@10"]
    code, out, err = command(*asked)
    assert code == 0, err
    assert re.search(r"first-stage +(\S+) +(\S+)\npodium-mini +(\S+) +(\S+)", out).groups() == means
    assert "2 queries" in out
    assert "50 of 52 judged queries are in no run and were left out" in err
    code, out, err = command(*asked, "--queries", folder / "queries.jsonl")
    assert re.search(r"first-stage +(\S+) +(\S+)\npodium-mini +(\S+) +(\S+)", out).groups() == means
    assert "left out" not in err


def test_compare_takes_only_the_queries_it_is_given(folder, tmp_path):
    _, files = written_runs(folder, tmp_path)
    (tmp_path / "one.tsv").write_text("q2\tnight sea\n", encoding="utf-8")
    (tmp_path / "none.tsv").write_text("q9\tunknown\n", encoding="utf-8")
    asked = ["compare", *files, "--qrels", folder / "qrels.tsv", "--queries"]
    assert "1 queries" in command(*asked, tmp_path / "one.tsv")[1]
    code, _, err = command(*asked, tmp_path / "none.tsv")
    assert (code, "has no query that" in err) == (2, True)


def test_notes_are_added_up_over_queries():
    cut = "documents are longer than the model reads; see dropped_tokens"
    long_queries = [f"the query is longer than the model reads; {count} of its tokens were dropped" for count in (3, 295)]
    notes = [(f"2 of 100 {cut}", "100 of 100 scores were remembered", long_queries[0]), (f"1 of 90 {cut}",), (long_queries[1],)]
    assert evaluate.combined_notes(notes) == (
        f"3 of 190 {cut} (in 2 of 3 queries)",
        "100 of 100 scores were remembered (in 1 of 3 queries)",
        f"{long_queries[0]} (in 2 of 3 queries)",
    )
    assert evaluate.combined_notes([("one note",)]) == ("one note",)


def test_a_csv_may_name_documents_and_leave_some_unjudged(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("query,document,grade,id\nred,apple,1,a7\nred,sea,,\nred,wine,,w1\n", encoding="utf-8")
    found = collections.read_collection(file)
    assert found.documents == {"a7": "apple", "d2": "sea", "w1": "wine"}
    assert (found.qrels, found.candidates) == ({"q1": {"a7": 1}}, {"q1": ["a7", "d2", "w1"]})
    code, _, err = command("eval", file, "--metrics", "nDCG@10")
    assert (code, err) == (0, "note: 2 of 3 candidates have no judgment; they count as not relevant\n")
    file.write_text("query,document,grade,id\nred,apple,1,a7\nred,sea,0,a7\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="line 3: the id 'a7' stands for two documents"):
        collections.read_collection(file)


def test_the_page_says_how_it_came_about(folder, tmp_path):
    report_file = tmp_path / "r.html"
    code, _, err = command("eval", folder, "--reranker", "podium-mini", "--max-length", "64", "--report", report_file)
    assert code == 0, err
    page = report_file.read_text(encoding="utf-8")
    for name, value in (
        ("first stage", "BM25"),
        ("rerankers", r"podium-mini \(revision v1\)"),
        ("date", r"20\d\d-\d\d-\d\d \d\d:\d\d[+-]\d\d:\d\d"),
        ("command", f"podium eval {folder} --reranker podium-mini --max-length 64 --report {report_file}"),
    ):
        assert re.search(f"<dt>{name}</dt><dd>{value}</dd>", page), name


def test_passwords_of_places_are_not_in_the_page():
    assert (
        without_passwords("podium eval x --in redis://me:p@ss@host/i --embed a")
        == "podium eval x --in redis://…@host/i --embed a"
    )
    assert first_stage_name(None, "redis://:secret@host/i", "m") == "the index redis://…@host/i, with the embedder m"


def test_options_go_to_the_models_they_are_for(folder):
    code, _, err = command("eval", folder, "--reranker", "podium-mini", "--base-url", "http://127.0.0.1:9")
    assert (code, "--base-url is for hosted APIs" in err) == (2, True)
    options = {"max_length": 64, "base_url": "http://127.0.0.1:9"}
    names = ("podium-mini", "cohere:m")
    assert [list(fitting(options, name, names)) for name in names] == [["max_length"], ["base_url"]]
    with pytest.raises(InvalidInput, match="a calibration belongs to one model"):
        fitting({"calibration": "c.json"}, "podium-mini", names)

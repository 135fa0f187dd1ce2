"""Metrics equal values computed by hand, can have parameters, and are refused if ir_measures cannot compute them."""

from __future__ import annotations

import numpy as np
import pytest

from podium.errors import InvalidInput
from podium.evaluation.metrics import DEFAULT_METRICS, checked_metrics, judged_shares, metric_values

QRELS = {"q1": {"d1": 2, "d3": 1}, "q2": {"d2": 1}}
RUN = {"q1": {"d2": 3.0, "d1": 2.0, "d3": 1.0}}


def test_metrics_equal_values_computed_by_hand():
    values = metric_values(("nDCG@10", "RR@10", "R@2"), QRELS, RUN)
    ideal = 2 + 1 / np.log2(3)
    assert values["nDCG@10"]["q1"] == pytest.approx((2 / np.log2(3) + 1 / np.log2(4)) / ideal)
    assert values["RR@10"] == {"q1": 0.5, "q2": 0.0}
    assert values["R@2"] == {"q1": 0.5, "q2": 0.0}


def test_judged_share_equals_the_value_computed_by_hand():
    assert judged_shares(QRELS, RUN) == {"q1": pytest.approx(2 / 3), "q2": 1.0}


def test_equal_scores_keep_the_order_of_the_run():
    """trec_eval would rank the document whose name is last in the alphabet first."""
    values = metric_values(("RR@10",), {"q": {"a": 1}}, {"q": {"a": 1.0, "z": 1.0}})
    assert values["RR@10"]["q"] == 1.0


def test_metrics_with_parameters_are_computed():
    names = ["nDCG@10", "P(rel=2)@5", "RR", "SetP", "Success@1"]
    assert checked_metrics(names) == tuple(names)


@pytest.mark.parametrize(
    "name",
    [
        "nDCGG@10", "nDCG@0", "P@0", "RR@0", "Judged@0", "nDCG(dcg='exp-log2')@0", "nDCG@99999999999999999999", "nDCG@2.5",
        "AP@0.5", "nDCG@1e9", "P(rel=0)@5", "R(rel=99999999999)@10", "RBP(p=2)", "IPrec@5", "INST", "P@True",
    ],
)  # fmt: skip
def test_metric_that_cannot_be_computed_is_refused(name):
    with pytest.raises(InvalidInput, match=r"cutoff|rel |cannot compute|knows no metric"):
        checked_metrics([name])


@pytest.mark.parametrize("suffix", ["\0", "\0x", "\ud800", "é" * 5000, " "], ids=ascii)
def test_ids_can_have_any_characters(suffix):
    """trec_eval would end the process, or read ids only to the first NUL."""

    def renamed(grades_by_query):
        return {
            query + suffix: {document + suffix: grade for document, grade in grades.items()}
            for query, grades in grades_by_query.items()
        }

    metrics = ("nDCG@10", "AP", "RR@10")
    plain = metric_values(metrics, QRELS, RUN)
    assert metric_values(metrics, renamed(QRELS), renamed(RUN)) == {
        name: {query + suffix: value for query, value in values.items()} for name, values in plain.items()
    }


def test_two_names_of_one_metric_have_the_same_value():
    values = metric_values(("MRR@10", "RR@10"), {"q": {"a": 1}}, {"q": {"a": 1.0}})
    assert values == {"MRR@10": {"q": 1.0}, "RR@10": {"q": 1.0}}


def test_query_with_only_negative_grades_has_no_relevant_document():
    """TREC has such grades for spam. With them, trec_eval would end the process or never return."""
    qrels = {"q1": {"a": 1, "b": -2}, "q2": {"a": -2, "b": -1}}
    run = {"q1": {"b": 2.0, "a": 1.0}, "q2": {"a": 2.0, "b": 1.0}}
    values = metric_values((*DEFAULT_METRICS, "nDCG"), qrels, run)
    assert {name: per_query["q2"] for name, per_query in values.items()} == dict.fromkeys(values, 0.0)
    assert values["RR@10"]["q1"] == 0.5

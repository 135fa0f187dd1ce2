"""The plan of a job is estimated from a sample of its input."""

from __future__ import annotations

import pytest

import loopback
import podium
from batches import as_lists, pairs, write_table
from commands import run_in_process
from loopback import Loopback
from podium.errors import InvalidInput


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((30,) * 200, id="equal"),
        pytest.param((10, 50) * 100, id="unequal"),
        pytest.param((300,) * 20, id="large"),
    ],
)
@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl", "in.jsonl.gz", "in.csv"])
def test_pairs_are_estimated_within_a_fifth(tmp_path, mini, name, sizes):
    path = write_table(tmp_path / name, pairs(sizes), rows_per_group=500)
    plan = podium.plan_batch(path, part_size=1000, reranker=mini)
    assert plan.pairs == pytest.approx(6000, rel=0.2)
    assert plan.sample_pairs < 3000
    assert plan.seconds() == pytest.approx(plan.pairs / plan.pairs_per_second)
    assert plan.seconds(1000) == pytest.approx(plan.seconds() / plan.parts)
    assert 10 * plan.pairs < 4 * plan.tokens < 60 * plan.pairs


def test_pairs_of_a_query_that_fills_several_parts_are_estimated(tmp_path, reranker):
    path = write_table(tmp_path / "in.parquet", pairs((3000,)), rows_per_group=500)
    assert podium.plan_batch(path, part_size=500, reranker=reranker).pairs == pytest.approx(3000, rel=0.2)


def test_sample_is_spread_over_all_parts(tmp_path, reranker):
    """In the last seven of fifteen parts, lines are about twelve times as long, so these parts have fewer pairs."""
    rows = pairs((10,) * 430)
    rows[4000:] = [{**row, "text": row["text"] + "y" * 1000} for row in rows[4000:]]
    path = write_table(tmp_path / "in.jsonl", rows)
    plan = podium.plan_batch(path, part_size=325, reranker=reranker)
    assert plan.parts == 15
    assert plan.pairs == pytest.approx(len(rows), rel=0.2)


def test_hosted_model_in_a_composition_is_not_called(tmp_path, mini):
    path = write_table(tmp_path / "in.parquet", pairs((30,) * 4))
    with Loopback(loopback.cohere) as server, podium.load("cohere:m", api_key="key", base_url=server.url) as hosted:
        plan = podium.plan_batch(path, reranker=podium.Reranker(podium.Fallback(hosted, mini)))
        assert server.requests == []
    assert plan.seconds() is None


def test_price_that_does_not_belong_to_the_model_is_an_error(tmp_path, mini):
    path = write_table(tmp_path / "in.parquet", pairs((30,) * 4))
    with pytest.raises(InvalidInput, match="only hosted models have the option price; leave it out"):
        podium.plan_batch(path, reranker=mini, price="1/Mtokens")
    with (
        podium.load("cohere:m", api_key="key", base_url="http://127.0.0.1:9") as hosted,
        pytest.raises(InvalidInput, match="only models on this machine have the option machine_price; leave it out"),
    ):
        podium.plan_batch(path, reranker=hosted, machine_price=1.0)


def test_hosted_model_is_not_called(tmp_path):
    """Nothing listens on the port."""
    path = write_table(tmp_path / "in.parquet", pairs((30,) * 4))
    with podium.load("cohere:m", api_key="key", base_url="http://127.0.0.1:9") as hosted:
        plan = podium.plan_batch(path, part_size=1000, reranker=hosted)
    assert (plan.pairs, plan.searches, plan.seconds(), plan.cost()) == (120, 4, None, None)


def test_pairs_of_lists_are_estimated(tmp_path, reranker):
    path = write_table(tmp_path / "in.parquet", as_lists(pairs((20,) * 300)), rows_per_group=20)
    plan = podium.plan_batch(path, part_size=400, reranker=reranker)
    assert (plan.files, plan.parts) == (1, 15)
    assert plan.pairs == pytest.approx(6000, rel=0.2)


def test_input_without_a_valid_pair_is_an_error(tmp_path, reranker):
    path = write_table(tmp_path / "in.jsonl", [{"query": None, "text": "a"}])
    with pytest.raises(InvalidInput, match="has no pair that can be scored"):
        podium.plan_batch(path, part_size=10, reranker=reranker)


def test_command_prints_the_plan_and_writes_nothing(tmp_path):
    path = write_table(tmp_path / "in.jsonl", pairs((30,) * 4))
    code, stdout, stderr = run_in_process("batch", path, "--to", tmp_path / "out", "--plan", "--limit", "3")
    assert (code, stderr) == (0, "")
    assert stdout.startswith("120 pairs in 1 file and 1 part, estimated from 120 pairs\n")
    table = stdout.split("machines like this one")[1].split("\n")[1:]
    times = [line.split(maxsplit=1)[1] for line in table[:3]]
    assert times == [times[0]] * 3
    assert "more machines than parts (1) do not help" in table[3]
    assert not (tmp_path / "out").exists()


def test_machines_are_paid_until_the_job_ends(tmp_path, mini):
    path = write_table(tmp_path / "in.parquet", pairs((20,) * 10), rows_per_group=20)
    plan = podium.plan_batch(path, part_size=100, reranker=mini, machine_price=7.2)
    assert plan.parts == 2
    assert plan.cost() == pytest.approx(plan.seconds() / 500)
    assert plan.cost(2) == pytest.approx(plan.cost())
    assert plan.cost(4) == pytest.approx(2 * plan.cost())


def test_command_prints_the_price_of_machines(tmp_path):
    path = write_table(tmp_path / "in.jsonl", pairs((30,) * 4))
    command = ("batch", path, "--to", tmp_path / "out", "--machine-price", "3600000")
    code, stdout, _ = run_in_process(*command, "--plan")
    assert code == 0
    heading, *rows = stdout.split("pairs/s on this machine\n")[1].splitlines()[:4]
    assert heading.split() == ["machines", "like", "this", "one", "time", "US", "dollars"]
    costs = [float(row.split()[-1].replace(",", "")) for row in rows]
    assert costs == pytest.approx([costs[0], 10 * costs[0], 100 * costs[0]], rel=0.01)
    code, _, stderr = run_in_process(*command)
    assert code == 2
    assert "only --plan has the option --machine-price; leave it out" in " ".join(stderr.split())

"""podium batch on a Ray cluster that loses its driver and a node, and RankBatch in Ray Data."""

from __future__ import annotations

import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

import podium
from batches import as_lists, expected_results, pairs, results_in, write_table
from loopback import Loopback, as_json
from podium.integrations.ray import RankBatch

PARTS = 30
ROWS = [{**row, "text": f"{row['text']} {row['id']}"} for row in pairs([20] * (5 * PARTS))]
SECONDS = 240  # the most that a job may take


@pytest.fixture
def path(tmp_path):
    return write_table(tmp_path / "in.parquet", ROWS, rows_per_group=100)


def start(path, out, cluster, *options):
    """Start the command in its own process, which is the driver."""
    arguments = ("batch", path, "--to", out, "--part-size", "100", "--engine", "ray", "--ray-address", cluster.address)
    command = [sys.executable, "-m", "podium", *map(str, arguments), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_parts(out, count, process):
    deadline = time.monotonic() + SECONDS
    while len(list((out / "parts").glob("part-*"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "the job takes too long"
        time.sleep(0.05)


def test_job_survives_the_loss_of_its_driver_and_of_a_node(path, tmp_path, cluster):
    out = tmp_path / "out"
    first = start(path, out, cluster)
    wait_for_parts(out, 3, first)
    first.kill()
    first.communicate()
    complete = len(list((out / "parts").glob("part-*")))
    assert complete < PARTS
    second = start(path, out, cluster)
    wait_for_parts(out, complete + 3, second)
    assert len(list((out / "parts").glob("part-*"))) < PARTS
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    stdout, stderr = second.communicate(timeout=SECONDS)
    assert second.returncode == 0, stderr
    assert stdout.startswith(f"{len(ROWS):,} pairs of {5 * PARTS} queries in {PARTS} parts, ")
    assert not list(out.rglob("*.unfinished"))
    with podium.load("podium-mini") as reranker:
        assert results_in(out) == expected_results(ROWS, reranker)
        alone = tmp_path / "alone"
        podium.batch(path, alone, reranker=reranker, part_size=100)
        assert podium.verify_batch(out, reranker=reranker, sample=5).different == ()
    parts = [[pq.read_table(part) for part in sorted((folder / "parts").iterdir())] for folder in (out, alone)]
    assert all(part.equals(other) for part, other in zip(*parts, strict=True))


def test_error_of_an_actor_is_the_error_of_the_command(tmp_path, cluster):
    path = write_table(tmp_path / "in.parquet", [{"query": "red", "text": None}])
    process = start(path, tmp_path / "out", cluster, "--strict")
    _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert "in.parquet, row 0: the document is null; correct or remove it" in " ".join(stderr.split())


def test_actors_share_the_limits_of_a_hosted_model(tmp_path, cluster):
    """A part costs 20 tokens, and may cost more before its reply. 100 tokens are not enough for twelve parts."""
    path = write_table(tmp_path / "in.parquet", pairs([2] * 12), rows_per_group=2)

    def answer(request):
        documents = request.json["documents"]
        results = [{"index": index, "relevance_score": 1 / (1 + len(text))} for index, text in enumerate(documents)]
        return as_json({"data": results, "usage": {"total_tokens": 10 * len(documents)}})

    options = {"engine": "ray", "ray_address": cluster.address, "part_size": 2, "price": "1/Mtokens"}
    out = tmp_path / "out"
    with Loopback(answer) as server, podium.load("voyage:m", base_url=server.url) as reranker:
        with pytest.raises(podium.PodiumError, match=r"could exceed the maximum cost of 0\.0001 US dollars"):
            podium.batch(path, out, reranker=reranker, max_cost=100 / 1e6, **options)
        paid_requests = len(server.requests)
        assert 20 * paid_requests <= 100
        result = podium.batch(path, out, reranker=reranker, **options)
        assert result.cost == pytest.approx((len(server.requests) - paid_requests) * 20 / 1e6)
        assert len(server.requests) >= 12
    assert (result.parts, result.pairs) == (12, 24)


def test_rank_batch_in_ray_data(cluster):
    ray.init(address=cluster.address, ignore_reinit_error=True)
    rows = as_lists(pairs([3, 5, 2]))
    dataset = ray.data.from_arrow(pa.Table.from_pylist(rows)).map_batches(
        RankBatch,
        fn_constructor_kwargs={"threads": 1, "copy": ["query_id"]},
        batch_format="pyarrow",
        batch_size=2,
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=1,
    )
    results = sorted((row["query_id"], row["rank"], row["index"], row["score"]) for row in dataset.take_all())
    with podium.load("podium-mini") as reranker:
        expected = [(row[0], row[3], row[2], row[4]) for row in expected_results(pairs([3, 5, 2]), reranker)]
    assert results == sorted(expected)

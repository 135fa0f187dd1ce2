"""Inputs in object stores, which another process reads from servers on loopback."""

from __future__ import annotations

import pytest

import podium
from batches import expected_results, pairs, results_in, write_table
from commands import run_in_subprocess
from environment import PARITY_MODELS
from loopback import Loopback
from object_stores import S3, CloudStorage, HubDataset

MODEL = PARITY_MODELS / "bert"
ROWS = pairs([3, 25, 1, 12])
STORES = {
    "s3": (S3, "s3://bucket/pairs/{name}?region=us-east-1&scheme=http&endpoint_override={host}"),
    "gs": (CloudStorage, "gs://anonymous@bucket/pairs/{name}?scheme=http&endpoint_override={host}"),
    "hf": (HubDataset, "hf://datasets/org/data/pairs/{name}"),
}


@pytest.fixture(params=STORES)
def run(request, tmp_path):
    """A function that runs `podium batch` on a file, folder or glob in the folder `pairs` of a store."""
    store, template = STORES[request.param]
    content = write_table(tmp_path / "a.parquet", ROWS).read_bytes()
    with Loopback(store({"pairs/a.parquet": content, "pairs/_SUCCESS": b"", "pairs/README.md": b"x"})) as server:
        environment = {
            "HF_ENDPOINT": server.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

        def run_batch(name):
            url = template.format(name=name, host=server.url.removeprefix("http://"))
            return run_in_subprocess("batch", url, "--to", tmp_path / "out", "--model", MODEL, **environment)

        yield run_batch


@pytest.mark.parametrize("name", ["a.parquet", "*.parquet", ""], ids=["file", "glob", "folder"])
def test_files_of_a_store_are_ranked(run, tmp_path, name):
    code, _, errors = run(name)
    assert code == 0, errors
    with podium.load(MODEL) as reranker:
        assert results_in(tmp_path / "out") == expected_results(ROWS, reranker)


def test_missing_file_of_a_store_is_an_error(run):
    code, _, errors = run("none.parquet")
    assert code == 2
    assert "there is no file" in errors
    assert "none.parquet" in errors

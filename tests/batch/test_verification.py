"""verify_batch computes parts again and compares them."""

from __future__ import annotations

import json
import os

import pyarrow.parquet as pq
import pytest

import podium
from batches import pairs, write_table
from commands import run_in_process
from environment import PARITY_MODELS
from podium.errors import InvalidInput


@pytest.fixture
def path(tmp_path):
    return write_table(tmp_path / "in.parquet", [*pairs([10] * 6), {"query_id": "x", "query": None}])


def test_parts_that_were_not_changed_are_equal(path, out, reranker):
    podium.batch(path, out, reranker=reranker, part_size=10)
    files = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert podium.verify_batch(out, reranker=reranker) == podium.Verification(parts=7, complete=7)
    assert podium.verify_batch(out, reranker=reranker, sample=2).parts == 2
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == files


def test_changed_score_is_found(path, out, reranker):
    podium.batch(path, out, reranker=reranker, part_size=10)
    part = sorted((out / "parts").iterdir())[3]
    table = pq.read_table(part)
    scores = table["score"].to_pylist()
    scores[4] += 1e-12
    pq.write_table(table.set_column(table.schema.get_field_index("score"), "score", [scores]), part)
    verification = podium.verify_batch(out, reranker=reranker)
    assert (verification.different, verification.rows) == ((part,), (4,))


def test_damaged_part_and_changed_bad_rows_are_found(path, out, reranker):
    podium.batch(path, out, reranker=reranker, part_size=10)
    first, *_, last = sorted((out / "parts").iterdir())
    first.write_bytes(first.read_bytes()[:-8])
    summary = out / "summaries" / f"{last.stem}.json"
    row, counts = summary.read_text().splitlines()
    position, *reason = json.loads(row)
    summary.write_text(f"{json.dumps([position + 1, *reason])}\n{counts}")
    assert podium.verify_batch(out, reranker=reranker).different == (first, last)


@pytest.mark.parametrize("seed", range(5))
def test_part_with_damaged_bytes_is_different(path, out, reranker, seed):
    podium.batch(path, out, reranker=reranker)
    (part,) = (out / "parts").iterdir()
    content = bytearray(part.read_bytes())
    footer_size = int.from_bytes(content[-8:-4], "little")
    start = len(content) - 8 - footer_size
    index = content.index(b"query_id", start) + seed
    content[index] = 0xFF
    part.write_bytes(content)
    assert podium.verify_batch(out, reranker=reranker).different == (part,)


def test_other_model_changed_input_and_empty_folder_are_refused(path, tmp_path, out, reranker, mini):
    with pytest.raises(InvalidInput, match="has no batch job"):
        podium.verify_batch(out, reranker=reranker)
    podium.batch(path, out, reranker=reranker)
    with pytest.raises(InvalidInput, match="model is podium-mini, and was word-overlap"):
        podium.verify_batch(out, reranker=mini)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InvalidInput, match=r"has changed\. Put the files back"):
        podium.verify_batch(out, reranker=reranker)


def test_command_loads_the_model_with_the_options_of_the_job(path, out):
    assert run_in_process("batch", path, "--to", out, "--max-length", "64")[0] == 1  # one bad row
    code, stdout, stderr = run_in_process("batch", "verify", out, "--sample", "3")
    assert (code, stdout, stderr) == (0, "1 of 1 checked part gave the same results; the job has 1 complete part\n", "")
    code, _, stderr = run_in_process("batch", "verify", out, "--max-length", "32")
    assert code == 2
    message = "the model's maximum length is 32, and was 64. Load the model as the job did, on such a processor"
    assert message in " ".join(stderr.split())


def test_command_loads_the_configuration_file_of_the_job(path, out, tmp_path, monkeypatch):
    stack = tmp_path / "stack.toml"
    stack.write_text('[reranker]\nuse = "Fallback"\nscorers = ["podium-mini", "podium-mini"]\n')
    monkeypatch.chdir(tmp_path)
    assert run_in_process("batch", path, "--to", out, "--model", stack.name)[0] == 1  # one bad row
    monkeypatch.chdir("/")
    code, stdout, stderr = run_in_process("batch", "verify", out, "--sample", "3")
    assert (code, stdout, stderr) == (0, "1 of 1 checked part gave the same results; the job has 1 complete part\n", "")


def test_command_loads_the_folder_of_the_job(path, out, monkeypatch):
    monkeypatch.chdir(PARITY_MODELS)
    assert run_in_process("batch", path, "--to", out, "--model", "./bert")[0] == 1  # one bad row
    assert run_in_process("batch", "verify", out, "--sample", "3")[0] == 0


def test_command_names_the_row_and_the_remedy(path, out):
    assert run_in_process("batch", path, "--to", out, "--output", "run")[0] == 1
    (part,) = (out / "parts").iterdir()
    lines = part.read_text().splitlines(keepends=True)
    part.write_text("".join([*lines[:7], lines[7].replace("Q0", "Q1"), *lines[8:]]))
    code, stdout, _ = run_in_process("batch", "verify", out)
    remedy = "to compute it again, delete it and run the job again"
    assert (code, stdout) == (
        1,
        f"{part} differs from row 7 on; {remedy}\n0 of 1 checked part gave the same results; the job has 1 complete part\n",
    )


def test_command_notes_missing_parts(path, out):
    assert run_in_process("batch", path, "--to", out, "--part-size", "10")[0] == 1
    sorted((out / "parts").iterdir())[0].unlink()
    code, stdout, stderr = run_in_process("batch", "verify", out)
    assert (code, stdout) == (0, "6 of 6 checked parts gave the same results; the job has 6 complete parts\n")
    assert stderr.endswith("note: 1 part of the job is missing; run the job again\n")


@pytest.mark.parametrize("manifest", [None, '{"name": "app"}', "{"], ids=["none", "other", "damaged"])
def test_folder_without_a_job_is_refused_with_a_remedy_for_verify(out, manifest):
    out.mkdir()
    (out / "page.html").touch()
    if manifest is not None:
        (out / "manifest.json").write_text(manifest)
    code, _, stderr = run_in_process("batch", "verify", out)
    assert code == 2
    assert "name the folder of" in stderr
    assert "--restart" not in stderr


def test_misspelled_command_is_refused_with_a_suggestion(out):
    code, _, stderr = run_in_process("batch", "verfy", out)
    assert code == 2
    assert "No such command or file 'verfy'. Did you mean 'verify'?" in stderr

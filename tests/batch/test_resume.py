"""Jobs that are continued: complete parts are not computed again, and another job is refused."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import podium
from batches import expected_results, pairs, results_in, write_table
from environment import ROOT
from fakes import FunctionScorer, WordOverlap
from podium.compose.calibrated import Calibration, write_calibration
from podium.errors import InvalidInput, MissingPackage, PodiumError
from podium.ranking import Reranker
from podium.types import Scores

SIZES = (10,) * 12
ROWS = pairs(SIZES)


@pytest.fixture
def path(tmp_path):
    return write_table(tmp_path / "in.parquet", ROWS, rows_per_group=20)


class InterruptedScorer(WordOverlap):
    """Raises an error instead of scoring the query number `failing_query`."""

    def __init__(self, error: BaseException, failing_query: int) -> None:
        self._error = error
        self._remaining = failing_query

    def score(self, query, texts):
        self._remaining -= 1
        if self._remaining < 0:
            raise self._error
        return super().score(query, texts)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), PodiumError("down")], ids=["interrupt", "error"])
def test_interrupted_job_leaves_complete_parts_and_is_continued(path, out, reranker, error):
    with pytest.raises(type(error)):
        podium.batch(path, out, reranker=Reranker(InterruptedScorer(error, failing_query=7)), part_size=20)
    assert results_in(out) == expected_results(ROWS[:60], reranker)  # three parts with two queries each
    result = podium.batch(path, out, reranker=reranker, part_size=20)
    assert results_in(out) == expected_results(ROWS, reranker)
    assert (result.parts, result.complete_before, result.pairs, result.computed_pairs) == (6, 3, 120, 60)


def test_complete_parts_are_not_read(path, out, reranker):
    """The input is replaced by bytes that are not Parquet, with the same size and time."""
    podium.batch(path, out, reranker=reranker)
    before = path.stat()
    path.write_bytes(b"\0" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert podium.batch(path, out, reranker=reranker).computed_pairs == 0


def test_part_without_its_summary_is_computed_again(path, out, reranker):
    podium.batch(path, out, reranker=reranker, part_size=20)
    next((out / "summaries").iterdir()).unlink()
    assert podium.batch(path, out, reranker=reranker, part_size=20).computed_pairs == 20


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        pytest.param({"limit": 3}, "limit is 3, and was not set", id="limit"),
        pytest.param({"copy": ["query"]}, "copy is query, and was empty", id="copy"),
        pytest.param({"part_size": 9}, "part_size is 9, and was 20", id="part-size"),
        pytest.param({"rank_by": "text"}, "rank_by is text, and was not set", id="rank-by"),
        pytest.param({"columns": {"document": "id"}}, "document=id", id="columns"),
        pytest.param(
            {"reranker": Reranker(FunctionScorer(lambda texts: Scores([0.0] * len(texts))))},
            "the model is function, and was word-overlap; the model's revision is not set, and was 1",
            id="model",
        ),
    ],
)
def test_other_options_are_refused_and_shown(path, out, reranker, options, difference):
    podium.batch(path, out, reranker=reranker, part_size=20)
    files = sorted(out.rglob("*"))
    with pytest.raises(InvalidInput, match=re.escape(difference)) as refusal:
        podium.batch(path, out, **{"reranker": reranker, "part_size": 20, **options})
    assert "delete that output with restart" in str(refusal.value)
    assert sorted(out.rglob("*")) == files


def test_precision_of_the_model_is_part_of_a_job(path, out, mini):
    podium.batch(path, out, reranker=mini)
    with (
        podium.load("podium-mini", precision="float32") as other,
        pytest.raises(InvalidInput, match=r"output of another job: the model's precision is float32, and was int8\. Continue"),
    ):
        podium.batch(path, out, reranker=other)


def test_format_that_the_names_of_files_tell_can_be_named_later(path, out, reranker):
    podium.batch(path, out, reranker=reranker)
    assert podium.batch(path, out, reranker=reranker, format_name="parquet").computed_pairs == 0


def test_other_instruction_set_is_refused(path, out, mini):
    """It may change the last bits of scores, so a job is not continued on another kind of processor."""
    podium.batch(path, out, reranker=mini)
    manifest = json.loads((out / "manifest.json").read_text())
    instruction_set = manifest["scorer"]["instruction_set"]
    assert instruction_set
    manifest["scorer"]["instruction_set"] = "abacus"
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInput, match=f"the processor's instruction set is {instruction_set}, and was abacus"):
        podium.batch(path, out, reranker=mini)


def test_changed_input_is_refused_and_shown(path, tmp_path, out, reranker):
    other = write_table(tmp_path / "other.parquet", ROWS)
    podium.batch(path, out, reranker=reranker)
    with pytest.raises(InvalidInput, match=re.escape(f"{other} is new; {path} is not an input now")):
        podium.batch(other, out, reranker=reranker)
    with pytest.raises(InvalidInput, match=re.escape(f"{other} is new")):
        podium.batch([path, other], out, reranker=reranker)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InvalidInput, match=re.escape(f"{path} has changed")):
        podium.batch(path, out, reranker=reranker)


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl"])
def test_input_that_is_replaced_while_a_job_runs_is_refused(tmp_path, out, reranker, name):
    path = write_table(tmp_path / name, ROWS, rows_per_group=20)
    other = write_table(tmp_path / f"other-{name}", pairs(SIZES[:-1]), rows_per_group=20)

    class ReplacesTheInput(WordOverlap):
        def score(self, query, texts):
            if query.endswith(" 5"):
                os.replace(other, path)
            return super().score(query, texts)

    replacing = Reranker(ReplacesTheInput())
    with pytest.raises(InvalidInput, match="has changed while the job was running"):
        podium.batch(path, out, reranker=replacing, part_size=2)
    results = results_in(out)
    assert 0 < len(results) <= 50
    assert results == expected_results(ROWS, reranker)[: len(results)]
    with pytest.raises(InvalidInput, match="has changed"):
        podium.batch(path, out, reranker=reranker, part_size=2)


def test_job_with_another_calibration_is_refused(path, tmp_path, out):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for slope, file in enumerate(files, start=1):
        with podium.load("podium-mini") as mini:
            write_calibration(file, Calibration("podium-mini", mini.scorer.revision, "platt", slope=float(slope)))
    with podium.load("podium-mini", calibration=files[0]) as first, podium.load("podium-mini", calibration=files[1]) as second:
        podium.batch(path, out, reranker=first)
        with pytest.raises(InvalidInput, match="a setting of the model has changed, such as its server"):
            podium.batch(path, out, reranker=second)
        assert podium.batch(path, out, reranker=first).computed_pairs == 0


def test_restart_deletes_the_other_output(path, out, reranker):
    podium.batch(path, out, reranker=reranker, part_size=20)
    result = podium.batch(path, out, reranker=reranker, limit=1, restart=True)
    assert result.complete_before == 0
    assert results_in(out) == expected_results(ROWS, reranker, limit=1)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"copy": ["nope"]}, InvalidInput, id="copy"),
        pytest.param({"columns": {"query": "quest"}}, InvalidInput, id="columns"),
        pytest.param({"output": "replies"}, InvalidInput, id="output"),
        pytest.param({"output": "run", "copy": ["text"]}, InvalidInput, id="output-run"),
        pytest.param({"copy": ["file"]}, InvalidInput, id="copied-name"),
        pytest.param({"layout": "run"}, InvalidInput, id="no-collection"),
        pytest.param({"collection": "nope"}, InvalidInput, id="collection"),
        pytest.param({"part_size": 0}, InvalidInput, id="part-size"),
        pytest.param({"format_name": "arrow"}, InvalidInput, id="format"),
        pytest.param({"engine": "ray"}, MissingPackage, id="ray-is-not-installed"),
    ],
)
def test_restart_that_is_refused_deletes_nothing(path, out, reranker, options, error):
    podium.batch(path, out, reranker=reranker)
    files = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    with pytest.raises(error):
        podium.batch(path, out, reranker=reranker, restart=True, **options)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == files


def test_new_job_that_is_refused_creates_no_folder(path, out, reranker):
    with pytest.raises(InvalidInput):
        podium.batch(path, out, reranker=reranker, copy=["nope"])
    assert not out.exists()


@pytest.mark.parametrize("restart", [False, True])
def test_folder_with_other_files_is_refused(path, out, reranker, restart):
    out.mkdir()
    (out / "thesis.pdf").touch()
    with pytest.raises(InvalidInput, match=r"has files that are not from a batch job, such as 'thesis.pdf'"):
        podium.batch(path, out, reranker=reranker, restart=restart)
    assert (out / "thesis.pdf").exists()


@pytest.fixture
def other_folder(out):
    """A folder that is not from a job, although its files have similar names."""
    (out / "parts").mkdir(parents=True)
    for name in ("a.unfinished", "parts/b.unfinished", "parts/part-list.csv", "rejected.parquet"):
        (out / name).write_text(name)
    return out


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("manifest", [None, '{"name": "app", "version": "3"}', "{"], ids=["none", "other", "damaged"])
def test_no_file_of_a_folder_that_is_not_from_a_job_is_deleted(path, other_folder, reranker, manifest, restart):
    if manifest is not None:
        (other_folder / "manifest.json").write_text(manifest)
    files = sorted(other_folder.rglob("*"))
    with pytest.raises(InvalidInput, match=r"not from a batch job.*name (a new|another) folder"):
        podium.batch(path, other_folder, reranker=reranker, restart=restart)
    assert sorted(other_folder.rglob("*")) == files


def test_restart_deletes_only_files_of_the_job(path, out, reranker):
    podium.batch(path, out, reranker=reranker, part_size=20)
    others = [out / name for name in ("readme.md", "parts/part-list.csv", "parts/a.unfinished", "summaries/part-1.json")]
    for file in others:
        file.write_text("x")
    result = podium.batch(path, out, reranker=reranker, restart=True)
    assert result.complete_before == 0
    assert all(file.read_text() == "x" for file in others)
    assert len(list((out / "parts").glob("part-0*"))) == result.parts == 1


def test_temporary_files_of_killed_jobs_are_deleted(path, out, reranker):
    (out / "parts").mkdir(parents=True)
    for name in (".0123456789abcdef.unfinished", "parts/.0123456789abcdef.unfinished"):
        (out / name).touch()
    podium.batch(path, out, reranker=reranker)
    assert not list(out.rglob("*.unfinished"))


def test_file_as_output_is_refused(path, tmp_path, reranker):
    with pytest.raises(InvalidInput, match="is not a folder"):
        podium.batch(path, path, reranker=reranker)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"version": 1}', b'{"version": 99}'])
def test_damaged_manifest_is_refused(path, out, reranker, content):
    podium.batch(path, out, reranker=reranker)
    (out / "manifest.json").write_bytes(content)
    with pytest.raises(InvalidInput, match="use another folder, or restart"):
        podium.batch(path, out, reranker=reranker)
    assert podium.batch(path, out, reranker=reranker, restart=True).computed_pairs == 120


def test_second_job_on_a_folder_is_refused(path, out, reranker):
    """The second job begins while the first one scores."""
    refusals = []

    class StartsAnotherJob(WordOverlap):
        def score(self, query, texts):
            with pytest.raises(InvalidInput, match="another job is writing to") as refusal:
                podium.batch(path, out, reranker=reranker)
            refusals.append(refusal)
            return super().score(query, texts)

    podium.batch(path, out, reranker=Reranker(StartsAnotherJob()))
    assert len(refusals) == len(SIZES)
    assert results_in(out) == expected_results(ROWS, reranker)


def test_complete_parts_can_be_read_while_a_job_runs_and_after_it_is_killed(path, out, reranker):
    """The temporary file of a part is in the same folder."""
    readable_rows = []

    class ReadsTheOutput(WordOverlap):
        def score(self, query, texts):
            assert list((out / "parts").glob(".*.unfinished"))
            readable_rows.append(len(pq.read_table(out / "parts")))
            return super().score(query, texts)

    podium.batch(path, out, reranker=Reranker(ReadsTheOutput()), part_size=20)
    assert readable_rows[:4] == [0, 0, 20, 20]


def test_full_disk_is_an_error_and_the_job_is_continued(path, out, reranker):
    podium.batch(path, out, reranker=reranker, part_size=20)
    for part in sorted((out / "parts").iterdir())[2:]:
        part.unlink()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))  # writing more fails, as on a full disk
    try:
        with pytest.raises(PodiumError, match=r"check the disk's free space.*run the job again"):
            podium.batch(path, out, reranker=reranker, part_size=20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert results_in(out) == expected_results(ROWS[:40], reranker)
    assert not list(out.rglob("*.unfinished"))
    podium.batch(path, out, reranker=reranker, part_size=20)
    assert results_in(out) == expected_results(ROWS, reranker)


KILLS = 50


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not have fork")
def test_job_that_is_killed_again_and_again_has_the_same_output(path, tmp_path, out, reranker):
    """A process forks jobs and kills them at random moments. All of its modules are loaded, so a job begins at once."""
    script = Path(__file__).with_name("killed_jobs.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "support")}
    process = subprocess.run(
        [sys.executable, script, path, out, str(KILLS)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == f"{KILLS} jobs were killed\n"
    assert results_in(out) == expected_results(ROWS, reranker)
    assert not list(out.rglob("*.unfinished"))

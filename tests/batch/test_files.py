"""Input files: the format and compression that a name tells, globs and folders of paths and URLs, and odd names."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest

import podium
from batches import pairs, write_table
from podium.batch.files import compression_of, input_files, open_stream
from podium.batch.tables import TABLE_FORMATS, table_format
from podium.errors import InvalidInput


@pytest.mark.parametrize(
    ("path", "format_name", "compression"),
    [
        ("/data/a.parquet", "parquet", None),
        ("/data/A.JSONL.GZ", "jsonl", "gzip"),
        ("/data/a?b.csv.zst", "csv", "zstd"),
        ("s3://bucket/a.jsonl.gz?region=eu-west-1&scheme=http", "jsonl", "gzip"),
        ("gs://bucket/a.tsv", "tsv", None),
        ("hf://datasets/org/name/a.ndjson", "jsonl", None),
        ("C:\\data\\a.feather", "arrow", None),
    ],
)
def test_name_tells_format_and_compression(path, format_name, compression):
    assert table_format(path) is TABLE_FORMATS[format_name]
    assert compression_of(path) == compression


NAMES = ("a.csv", "b.csv", "_SUCCESS", ".hidden.csv", "day/c.csv", "day/deep/d.csv", "_temporary/e.csv", ".tmp/f.csv")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize("is_url", [False, True], ids=["path", "url"])
@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["a.csv", "b.csv", "day/c.csv", "day/deep/d.csv"]),
        ("day/", ["day/c.csv", "day/deep/d.csv"]),
        ("*.csv", ["a.csv", "b.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("d*", ["day/c.csv", "day/deep/d.csv"]),
        ("*/*.csv", ["_temporary/e.csv", "day/c.csv"]),
        ("day/**", ["day/c.csv", "day/deep/d.csv"]),
        ("**/*.csv", ["_temporary/e.csv", "a.csv", "b.csv", "day/c.csv", "day/deep/d.csv"]),
        (".tmp/*", [".tmp/f.csv"]),
    ],
)
def test_globs_and_folders_have_the_same_files_as_paths_and_as_urls(folder, pattern, names, is_url):
    name = f"{folder.as_uri() if is_url else folder}/{pattern}"
    paths = sorted(file.path.removeprefix("file://") for file in input_files([name]))
    assert paths == [str(folder / name) for name in names]


def test_files_of_a_folder_whose_format_is_unknown_are_left_out_with_a_note(folder, tmp_path, out, reranker):
    data = tmp_path / "data"
    data.mkdir()
    write_table(data / "a.jsonl", pairs([2]))
    (data / "README.md").write_text("x")
    result = podium.batch(data, out, reranker=reranker)
    assert result.pairs == 2
    assert result.notes == (
        "1 file in the input folders was left out, because its name does not tell a format that podium reads",
    )
    with pytest.raises(InvalidInput, match="cannot tell the format"):
        podium.batch([data / "README.md"], tmp_path / "other", reranker=reranker)


def test_folder_without_a_file_of_a_known_format_is_refused(tmp_path, out, reranker):
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(InvalidInput, match="has no file that podium batch can read"):
        podium.batch(tmp_path, out, reranker=reranker)


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("data", "data/out"),
        ("data", "data"),
        ("data/**", "data/out"),
        ("data/*/*.parquet", "data/out"),
        ("data", "data/b/../out"),
    ],
)
def test_output_in_an_input_is_refused_before_anything_is_created(tmp_path, reranker, pattern, output):
    (tmp_path / "data" / "b").mkdir(parents=True)
    write_table(tmp_path / "data" / "b" / "a.jsonl", pairs([2]))
    write_table(tmp_path / "data" / "b" / "a.parquet", pairs([2]))
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidInput, match="to: the output would be in the input"):
        podium.batch(tmp_path / pattern, tmp_path / output, reranker=reranker)
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.parametrize("name", ["parts/part-*.parquet", "rejected.parquet"], ids=["part", "rejected"])
def test_file_that_the_job_wrote_is_refused_as_its_input(tmp_path, out, reranker, name):
    source = write_table(tmp_path / "a.jsonl", [*pairs([2]), {"query": None, "document": "b"}])
    podium.batch(source, out, reranker=reranker)
    (written,) = out.glob(name)
    with pytest.raises(InvalidInput, match="to: the output would be in the input"):
        podium.batch(written, out, reranker=reranker, restart=True)
    assert written.exists()


def test_output_that_a_glob_does_not_match_can_be_beside_the_inputs(tmp_path, reranker):
    write_table(tmp_path / "a.parquet", pairs([2]))
    for _ in range(2):
        assert podium.batch(tmp_path / "*.parquet", tmp_path / "out", reranker=reranker).pairs == 2


def test_path_is_the_same_file_however_it_is_written(tmp_path, out, reranker, monkeypatch):
    path = write_table(tmp_path / "a.jsonl", pairs([2]))
    (tmp_path / "b").mkdir()
    podium.batch(path, out, reranker=reranker)
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "./b/../a.jsonl"):
        assert podium.batch(name, out, reranker=reranker).computed_pairs == 0


@pytest.mark.parametrize("name", ["p%41.csv", "ts=10%3A00.csv", "a b.csv", "é.csv", "[x].csv", "a#b.csv", "a+b.csv"])
def test_name_with_special_characters_is_read_from_a_url(tmp_path, name):
    """An object store may have objects whose names differ only in a part that looks encoded."""
    for other in (name, "pA.csv"):
        (tmp_path / other).write_text(other)
    files = {file.path: open_stream(file).read().decode() for file in input_files([tmp_path.as_uri()])}
    assert sorted(files.values()) == sorted([name, "pA.csv"])
    (file,) = input_files([f"{tmp_path.as_uri()}/{quote(name)}"])
    assert open_stream(file).read().decode() == name


def test_spaces_in_a_url_need_no_encoding(tmp_path):
    (tmp_path / "a b.csv").write_text("")
    assert len(input_files([f"file://{tmp_path}/a b.csv"])) == 1


def test_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for name in (tmp_path / "pipe.csv", tmp_path / "*.csv", Path("/dev/zero")):
        with pytest.raises(InvalidInput, match="is a pipe or a device, which cannot be read twice"):
            input_files([name])


def test_name_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"bad\xff.csv")).write_text("")
    with pytest.raises(InvalidInput, match=r"bad\\udcff.csv' is not valid UTF-8; rename the file"):
        input_files([tmp_path])

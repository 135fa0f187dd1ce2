"""Documents from files: how a format is recognised, and errors that name the line."""

from __future__ import annotations

import gzip
import subprocess
import sys

import numpy as np
import pyarrow as arrow
import pytest
from pyarrow import parquet

from podium.errors import InvalidInput
from podium.formats import MAX_CHARACTERS, format_of, parse_documents, read_documents, stream_documents


@pytest.mark.parametrize(
    ("content", "format_name"),
    [(b'  {"a": 1}', "jsonl"), (b'"a"', "jsonl"), (b"[1]", "json"), (b"plain", "txt")],
    ids=["object", "string", "array", "text"],
)
def test_format_is_recognised_by_the_first_character(content, format_name):
    assert format_of("", content) == format_name


@pytest.mark.parametrize(
    ("format_name", "content", "message"),
    [
        ("txt", b"a\n\xff\xfe\n", "line 2: not UTF-8"),
        ("jsonl", b'{"a": 1}\n{"a": \n', "line 2: not valid JSON"),
        ("jsonl", b"[1]\n", "line 1: a document is a JSON string or object, not list"),
        ("json", b"{}", "docs: its JSON value is not a list but of type dict; .*format jsonl"),
        ("json", b"[5]", "item 0"),
        ("csv", b"a,b\n1\n", "line 2: not as many cells"),
        ("csv", b"a,b\n1,2,3\n", "line 2: not as many cells"),
        ("csv", b"a;b;c,d\n1;2\n", "line 2: not as many cells as the header.* semicolons"),
        ("csv", b'a,b\n"1,2\n', "line"),
        ("csv", b"text,text\na,b\n", "the same name for two columns"),
        ("csv", b"\na,b\n1,2\n", "docs: its first line is blank or missing; name its columns there"),
        ("tsv", b" \na\tb\n1\t2\n", "docs: its first line is blank or missing; name its columns there"),
        ("xlsx", b"", "no format 'xlsx'"),
    ],
    ids=[
        "encoding",
        "JSON lines",
        "JSON lines of a list",
        "JSON object",
        "JSON array of a number",
        "CSV with a missing cell",
        "CSV with an extra cell",
        "CSV with semicolons",
        "CSV with an unclosed quote",
        "CSV with a repeated column",
        "CSV with a blank first line",
        "TSV with a blank first line",
        "unknown format",
    ],
)
def test_content_that_is_not_documents_of_the_format_is_refused(format_name, content, message):
    with pytest.raises(InvalidInput, match=message):
        parse_documents(content, format_name, "docs")


@pytest.mark.parametrize("format_name", ["csv", "tsv"])
def test_table_without_lines_has_no_documents(format_name):
    assert parse_documents(b"", format_name, "docs") == []


@pytest.mark.parametrize("name", ["docs.zip", "docs", "docs.unknown"])
def test_zip_file_is_not_called_a_word_document(name):
    with pytest.raises(InvalidInput, match=rf"^{name} is a ZIP file, not text: unpack it; if it is an office document, save"):
        format_of(name, b"PK\x03\x04")


def test_line_that_is_not_utf8_is_named_after_a_line_of_many_megabytes():
    content = b'[ "' + "é".encode() * (2 * MAX_CHARACTERS + 1) + b'",\n"\xff"]\n'
    with pytest.raises(InvalidInput, match="docs, line 2: not UTF-8"):
        parse_documents(content, "json", "docs")


def test_character_that_is_incomplete_at_the_end_is_named():
    with pytest.raises(InvalidInput, match="docs, line 2: not UTF-8"):
        parse_documents(b"a\n\xc3", "txt", "docs")


@pytest.mark.parametrize("damage", [lambda content: content[:-300], lambda content: content[:-300] + b"\xff" * 300])
def test_file_that_is_neither_utf8_nor_complete_is_an_error(tmp_path, damage):
    """The line that is not UTF-8 is so long that its end, which is damaged, is read only to find the number of the line."""
    random_text = np.random.default_rng(0).integers(33, 127, 3_000_000).astype(np.uint8).tobytes()
    file = tmp_path / "d.txt.gz"
    file.write_bytes(damage(gzip.compress(b"\xff" + random_text, 1)))
    with pytest.raises(InvalidInput, match=r"d\.txt\.gz"):
        read_documents(file)


def test_column_without_a_name_is_read():
    """pandas writes such a column for its index."""
    assert parse_documents(b",text\n0,a\n", "csv", "docs") == [{"": "0", "text": "a"}]


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [("d.txt.gz", b"", b"\n"), ("d.jsonl.gz", b'"', b'"\n'), ("d.csv.gz", b"text\n", b"\n")],
    ids=["text", "JSON lines", "CSV"],
)
def test_line_that_is_too_long_is_refused_without_reading_its_rest(tmp_path, name, start, end):
    """A gzip of a few megabytes can have a line of gigabytes. This one is damaged at its end, which must not be read."""
    content = gzip.compress(start + b"a" * (MAX_CHARACTERS + 100_000_000) + end, 1)
    (tmp_path / name).write_bytes(content[: len(content) - 8])
    line = 2 if "csv" in name else 1  # the first line of the CSV is its header
    with pytest.raises(InvalidInput, match=rf"{name}, line {line}: longer than 67,108,864 characters; write one document per"):
        read_documents(tmp_path / name)


def test_long_line_is_read():
    line = "a" * (MAX_CHARACTERS - 1)
    assert parse_documents(f"{line}\nb".encode(), "txt", "docs") == [line, "b"]


def test_cell_that_is_too_long_is_refused():
    with pytest.raises(InvalidInput, match="field larger than field limit"):
        parse_documents(b'text\n"' + (b"a" * 999 + b"\n") * (MAX_CHARACTERS // 1000 + 1), "csv", "docs")


READ_WITH_LITTLE_MEMORY = """
import resource, sys
import podium.formats
resource.setrlimit(resource.RLIMIT_AS, (400_000_000, 400_000_000))
try:
    podium.formats.read_documents(sys.argv[1])
except podium.InvalidInput as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not always enforce RLIMIT_AS")
def test_file_that_does_not_fit_into_memory_is_an_error(tmp_path):
    file = tmp_path / "d.json.gz"
    file.write_bytes(gzip.compress(b" " * 500_000_000, 1))
    process = subprocess.run(
        [sys.executable, "-c", READ_WITH_LITTLE_MEMORY, file], capture_output=True, text=True, check=True, timeout=120
    )
    assert process.stdout == f"{file} does not fit into memory; split it into smaller files\n"


ZEROS = b",".join([b"0"] * 10_000)
MANY_VALUES = {
    "d.txt.gz": (b"", b"a\n" * 10_000, 420),
    "d.jsonl.gz": (b"", b'{"a": [' + ZEROS + b"]}\n", 850),
    "d.csv.gz": (b",".join(b"%d" % column for column in range(10_000)) + b"\n", ZEROS + b"\n", 850),
    "d.tsv.gz": (b"\t".join(b"%d" % column for column in range(10_000)) + b"\n", ZEROS.replace(b",", b"\t") + b"\n", 850),
    "d.json.gz": (b"[", b"{}," * 10_000, 850),
}
"""Name of a file → its first bytes, a part that is repeated after them, and how often. Its documents take more than 512 MB."""


@pytest.mark.parametrize("name", MANY_VALUES)
def test_compressed_file_of_many_small_values_is_refused(tmp_path, name):
    """The file is damaged at its end, which must not be read."""
    start, part, count = MANY_VALUES[name]
    content = gzip.compress(start + part * count + b" " * 1_000_000, 1)
    file = tmp_path / name
    file.write_bytes(content[: len(content) - 8])
    with pytest.raises(InvalidInput, match=f"{name} expands to more than 512 MB and 100 times its own size.*; decompress it"):
        read_documents(file)


def test_large_compressed_file_may_expand_to_more_than_512_mb(tmp_path):
    """The documents take more than 512 MB, but less than a hundred times the size of the file."""
    start, _, count = MANY_VALUES["d.csv.gz"]
    numbers = np.random.default_rng(0).integers(10, 100, (count, 10_000)).astype("U2")
    rows = "\n".join(",".join(row) for row in numbers).encode()
    file = tmp_path / "d.csv.gz"
    file.write_bytes(gzip.compress(start + rows, 1))
    assert len(read_documents(file)) == count


def test_lines_of_a_compressed_file_may_together_exceed_the_limit_in_a_stream(tmp_path):
    start, part, count = MANY_VALUES["d.csv.gz"]
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(start + part * count, 1))
    assert sum(1 for _ in stream_documents(tmp_path / "d.csv.gz")) == count


def test_line_of_many_values_is_refused_also_in_a_stream(tmp_path):
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b'{"a": [' + b"{}," * 5_000_000, 1))
    with pytest.raises(InvalidInput, match="expands to more than"):
        next(stream_documents(tmp_path / "d.jsonl.gz"))


def test_plain_file_of_many_values_is_read(tmp_path):
    start, part, count = MANY_VALUES["d.csv.gz"]
    (tmp_path / "d.csv").write_bytes(start + part * count)
    assert len(read_documents(tmp_path / "d.csv")) == count


@pytest.fixture
def write_parquet(tmp_path):
    def write(**columns):
        parquet.write_table(arrow.table(columns), tmp_path / "d.parquet", compression="zstd")
        return tmp_path / "d.parquet"

    return write


LONG_STRING = arrow.array(["x" * 1_000_000])
INDICES = arrow.array([0] * 2_000, arrow.int32())  # 2,000 times the long string


@pytest.mark.parametrize(
    "make_column",
    [
        pytest.param(lambda: LONG_STRING.take(INDICES), id="strings"),  # takes two gigabytes, and so only while the test runs
        pytest.param(lambda: arrow.DictionaryArray.from_arrays(INDICES, LONG_STRING), id="dictionary"),
    ],
)
def test_parquet_that_expands_to_gigabytes_is_refused(write_parquet, make_column):
    file = write_parquet(text=make_column())
    assert file.stat().st_size < 10_000
    sizes = []
    with pytest.raises(InvalidInput, match="expands to more than 512 MB and 100 times its own size"):
        sizes.extend(len(document["text"]) for document in stream_documents(file))
    assert sum(sizes) < 600_000_000


def test_compressed_parquet_is_limited_by_the_size_of_the_compressed_file(tmp_path):
    """The Parquet file is more than a hundredth of the size of its documents, so it is read. Its gzip is smaller."""
    columns = {"padding": ["x" * 10_000_000] + [""] * 599, "text": ["x" * 1_000_000] * 600}
    compression = {"padding": "none", "text": "zstd"}
    parquet.write_table(arrow.table(columns), tmp_path / "d.parquet", compression=compression, use_dictionary=False)
    assert sum(len(document["text"]) for document in stream_documents(tmp_path / "d.parquet")) == 600_000_000
    (tmp_path / "d.parquet.gz").write_bytes(gzip.compress((tmp_path / "d.parquet").read_bytes(), 1))
    with pytest.raises(InvalidInput, match="expands to more than 512 MB"):
        next(stream_documents(tmp_path / "d.parquet.gz"))


def test_parquet_with_a_huge_number_of_equal_numbers_is_refused(write_parquet):
    zeros = arrow.array(np.zeros(200_000, np.int8))
    file = write_parquet(**{f"column {index}": zeros for index in range(50)})
    with pytest.raises(InvalidInput, match="expands to more than"):
        for _ in stream_documents(file):
            pass


def test_parquet_with_repeated_values_is_read(write_parquet):
    column = arrow.DictionaryArray.from_arrays(arrow.array([1, None, 0] * 100, arrow.int32()), arrow.array(["a", "b"]))
    assert read_documents(write_parquet(text=column)) == [{"text": "b"}, {"text": None}, {"text": "a"}] * 100


def test_compressed_parquet_is_read(write_parquet, tmp_path):
    content = write_parquet(text=["a", "b"]).read_bytes()
    (tmp_path / "d.parquet.gz").write_bytes(gzip.compress(content))
    assert read_documents(tmp_path / "d.parquet.gz") == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize(
    "column",
    [
        arrow.array([1], arrow.timestamp("us", tz="Foo/Bar")),
        arrow.array([2**62], arrow.timestamp("us")),
        arrow.Array.from_buffers(
            arrow.string(), 1, [None, arrow.py_buffer(np.array([0, 2], np.int32)), arrow.py_buffer(b"\xff\xfe")]
        ),
    ],
    ids=["unknown time zone", "year after 9999", "not UTF-8"],
)
def test_parquet_value_that_python_cannot_represent_is_an_error_that_names_the_column(write_parquet, column):
    with pytest.raises(
        InvalidInput, match=r"the column 'when', of type .*such as an unknown time zone, .*convert it to strings"
    ):
        read_documents(write_parquet(text=["a"], when=column))


def test_nested_values_of_parquet_with_dictionary_encoding_are_refused(write_parquet):
    """How much memory such values take is unknown before they are converted."""
    column = arrow.StructArray.from_arrays([arrow.array(["a"]).dictionary_encode()], ["name"])
    with pytest.raises(InvalidInput, match="the column 'record' has dictionary-encoded values in lists or structs"):
        read_documents(write_parquet(record=column))

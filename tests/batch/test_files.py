"""Names of input files tell their format and compression, also in URLs with options."""

from __future__ import annotations

import pytest

from podium.batch.files import compression_of
from podium.batch.tables import TABLE_FORMATS, table_format


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

"""Fixtures of the tests of evaluation."""

from __future__ import annotations

import json

import pytest

from fruit import CORPUS, QRELS, QUERIES


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "fruit"
    where.mkdir()
    (where / "corpus.jsonl").write_text("\n".join(map(json.dumps, CORPUS)), encoding="utf-8")
    (where / "queries.jsonl").write_text("\n".join(map(json.dumps, QUERIES)), encoding="utf-8")
    (where / "qrels.tsv").write_text(QRELS, encoding="utf-8")
    return where

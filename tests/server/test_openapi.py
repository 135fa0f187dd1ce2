"""The server's own description, and requests of every kind made from it: none gets an answer that is not described."""

from __future__ import annotations

import json

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS
from schemathesis.specs.openapi.checks import positive_data_acceptance

import podium
from fakes import WordOverlap
from podium.server.dialects import DIALECTS
from podium.server.endpoints.openapi import description
from serving import Serving

EXAMPLES = 60


@pytest.fixture(scope="module")
def served():
    index = podium.EmbeddedIndex.create(None)
    index.add(["a green apple", "the red sea at night"])
    with Serving(rerankers={"words": podium.Reranker(WordOverlap())}, source=index) as server:
        yield server


schema = schemathesis.openapi.from_dict(description(False))


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_request_gets_an_answer_that_is_not_described(case, served):
    # Left out: that whatever fits the schema is taken. A schema can't say that a query has a letter in it, that two lists
    # are equally long or that a document has one of the fields that are read.
    case.call_and_validate(base_url=served.url, timeout=30, excluded_checks=[positive_data_acceptance])


def test_the_checks_would_notice():
    """Schemathesis looks for server errors, undescribed statuses, media types and bodies; it has not lost these checks."""
    names = {getattr(check, "__name__", "") for check in CHECKS.get_all()}
    assert {"not_a_server_error", "status_code_conformance", "response_schema_conformance"} <= names


def test_every_dialect_is_described(served):
    said = httpx.get(f"{served.url}/openapi.json").json()
    rerank_paths = {path for dialect in DIALECTS for path in dialect.paths}
    other_paths = {
        "/search", "/v1/check-api-key", "/v1/models", "/info", "/meta",
        "/health", "/ready", "/.well-known/live", "/.well-known/ready",
    }  # fmt: skip
    assert set(said["paths"]) == rerank_paths | other_paths
    assert said == json.loads(json.dumps(description(False)))
    assert "401" not in json.dumps(said)
    keyed = description(True)
    assert keyed["paths"]["/rerank"]["post"]["security"] == [{"key": []}]
    assert "401" in keyed["paths"]["/rerank"]["post"]["responses"]

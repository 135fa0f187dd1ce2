"""The OpenAPI description, and requests that schemathesis generates from it: the description covers every reply."""

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
from podium.server.endpoints.openapi import openapi_document
from serving import ServerThread

EXAMPLES = 60  # the number of generated requests for each path


@pytest.fixture(scope="module")
def server():
    index = podium.EmbeddedIndex.create(None)
    index.add(["a green apple", "the red sea at night"])
    with ServerThread(rerankers={"words": podium.Reranker(WordOverlap())}, source=index) as server:
        yield server


schema = schemathesis.openapi.from_dict(openapi_document(needs_key=False))


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_reply_is_described(case, server):
    # positive_data_acceptance would check that every request that fits the schema is accepted. But a schema cannot express
    # that a query has visible characters, that two lists have the same length, or that a document has a field that is read.
    case.call_and_validate(base_url=server.url, timeout=30, excluded_checks=[positive_data_acceptance])


def test_schemathesis_has_the_important_checks():
    names = {getattr(check, "__name__", "") for check in CHECKS.get_all()}
    assert {"not_a_server_error", "status_code_conformance", "response_schema_conformance"} <= names


def test_every_path_is_described(server):
    document = httpx.get(f"{server.url}/openapi.json").json()
    rerank_paths = {path for dialect in DIALECTS for path in dialect.paths}
    other_paths = {
        "/search", "/v1/check-api-key", "/v1/models", "/info", "/meta",
        "/health", "/ready", "/.well-known/live", "/.well-known/ready",
    }  # fmt: skip
    assert set(document["paths"]) == rerank_paths | other_paths
    assert document == json.loads(json.dumps(openapi_document(needs_key=False)))


def test_key_is_described_if_it_is_needed():
    assert "401" not in json.dumps(openapi_document(needs_key=False))
    operation = openapi_document(needs_key=True)["paths"]["/rerank"]["post"]
    assert operation["security"] == [{"key": []}]
    assert "401" in operation["responses"]


@pytest.mark.parametrize("path", ["/rerank", "/search", "/v1/models"])
def test_refusals_of_foreign_pages_are_described_without_keys(path):
    for needs_key in (False, True):
        [operation] = openapi_document(needs_key=needs_key)["paths"][path].values()
        assert ({"403", "415"} <= set(operation["responses"])) is not needs_key
        assert ("401" in operation["responses"]) is needs_key


def test_optional_fields_can_be_null():
    operation = openapi_document(needs_key=False)["paths"]["/v2/rerank"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["query", "documents"]
    assert schema["properties"]["query"] == {"type": "string", "minLength": 1}
    assert schema["properties"]["return_documents"] == {
        "type": ["boolean", "null"],
        "default": False,
        "description": "Whether results contain their documents.",
    }

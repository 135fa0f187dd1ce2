"""RedisOptions, and the arguments of RedisSource and its calls."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest
from redisvl.query.filter import FilterExpression

import podium
from podium.errors import InvalidInput
from podium.sources.redis.options import RedisOptions
from redisearch import source_at


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"mode": "fuzzy"}, "mode must be", id="unknown mode"),
        pytest.param({"mode": "vector"}, "pass an embedder as embed=", id="mode without embedder"),
        pytest.param({"fusion": "max"}, "fusion must be", id="unknown fusion"),
        pytest.param({"text_weight": 2}, "from 0 to 1", id="text_weight"),
        pytest.param({"text": []}, "text must be", id="no text fields"),
        pytest.param({"text": {"a": 0}}, "weight", id="weight 0"),
        pytest.param({"text": 5}, "text must be", id="text of the wrong type"),
        pytest.param({"return_fields": "content"}, "return_fields must be", id="return_fields as a string"),
        pytest.param({"return_fields": 5}, "return_fields must be", id="return_fields of the wrong type"),
        pytest.param({"timeout": 0}, "timeout must be", id="timeout 0"),
        pytest.param({"timeout": "1"}, "timeout must be", id="timeout of the wrong type"),
        pytest.param({"filter": 5}, "filter must be", id="filter of the wrong type"),
        pytest.param({"filter": "year > 2000"}, "the filter 'year > 2000' names no field", id="filter without a field"),
        pytest.param({"filter": FilterExpression()}, "the filter expression is not complete", id="incomplete filter"),
        pytest.param({"index": ""}, "name the index", id="no index"),
    ],
)
def test_invalid_option_is_refused_before_anything_is_sent(options, message):
    with pytest.raises(InvalidInput, match=message):
        podium.RedisSource.from_url("redis://127.0.0.1:9", **{"index": "x"} | options)


@pytest.mark.parametrize(
    ("query", "limit", "message"),
    [
        pytest.param("x", 0, "limit", id="limit 0"),
        pytest.param("x", None, "at most 1,000,000", id="no limit"),
        pytest.param("x", 2_000_000, "at most 1,000,000", id="limit too large"),
        pytest.param(" ", 1, "query is empty", id="empty query"),
    ],
)
def test_invalid_argument_of_a_search_is_refused(query, limit, message):
    with source_at("redis://127.0.0.1:9") as source, pytest.raises(InvalidInput, match=message):
        source.search(query, limit)


def test_both_constructors_have_the_options_with_the_same_defaults():
    names = [field.name for field in fields(RedisOptions)]
    parameters = inspect.signature(podium.RedisSource).parameters
    parameters_of_from_url = inspect.signature(podium.RedisSource.from_url).parameters
    for name in names:
        assert parameters[name] == parameters_of_from_url[name]
    assert set(parameters_of_from_url) - set(names) == {"url", "index", "connection"}
    assert set(parameters) - set(names) == {"index"}

"""The names of models, and the options that each kind of model has."""

from __future__ import annotations

import pytest

import podium
from environment import PARITY_MODELS
from podium.errors import InvalidInput, ModelNotFound


@pytest.mark.parametrize("name", ["podium-mino", "nothing", "./nowhere", "coher:x", "C:nowhere", "a b/c", "../x/y/z"])
def test_unknown_name_is_refused(name):
    with pytest.raises(ModelNotFound):
        podium.load(name)


@pytest.mark.parametrize(
    "name",
    ["a/..", "a--b/c", "a/b..c", "a/" + "b" * 120, "./" + "a" * 5000, "a" * 5000, "~nosuchuser/x", "a\0b"],
    ids=["dots", "dashes", "dots-inside", "long-hub-name", "long-folder", "long-name", "unknown-user", "nul"],
)
def test_impossible_name_is_an_error_of_podium(name):
    with pytest.raises(ModelNotFound):
        podium.load(name)


@pytest.mark.parametrize("option", [{"revision": "main"}, {"cache_dir": "x"}, {"token": "t"}], ids=str)
@pytest.mark.parametrize("name", ["podium-mini", PARITY_MODELS / "bert"], ids=["bundled", "folder"])
def test_hub_options_are_refused_for_other_models(name, option):
    with pytest.raises(InvalidInput, match=f"does not have the option {next(iter(option))}"):
        podium.load(name, **option)


@pytest.mark.parametrize("option", [{"revision": "../../x"}, {"revision": 5}, {"revision": ""}, {"cache_dir": 5}], ids=str)
def test_hub_options_are_checked(option):
    with pytest.raises(InvalidInput, match=next(iter(option))):
        podium.load("acme/bert", **option)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("podium-min", r"podium-mini\?"), ("coheer:rerank-v3.5", r"cohere:rerank-v3\.5\?")],
    ids=["bundled", "provider"],
)
def test_similar_name_is_suggested(name, suggestion):
    with pytest.raises(ModelNotFound, match=f"did you mean {suggestion}"):
        podium.load(name)

"""The settings in the JSON files of a model's folder: how podium reads them, and which ones it refuses."""

from __future__ import annotations

import contextlib
import json
import shutil

import pytest

import podium
from checkpoints import edit_json
from environment import PARITY_MODELS
from podium.errors import ModelError, ModelNotFound, UnsupportedModel
from podium.local.families import FAMILIES
from podium.local.families.family import family_of
from podium.local.files.folder import from_folder
from podium.local.scorer import LocalScorer
from podium.local.spec import read_spec

IDENTITY = "torch.nn.modules.linear.Identity"


def test_pickle_is_never_loaded(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match=r"pytorch_model\.bin, a pickle"):
        podium.load(model)


def test_remote_code_is_never_run(model):
    edit_json(model / "config.json", auto_map={"AutoModel": "modeling.Model"})
    with pytest.raises(UnsupportedModel, match="auto_map"):
        podium.load(model)


def test_unknown_family_is_refused_with_the_known_ones(model):
    edit_json(model / "config.json", model_type="t5")
    with pytest.raises(UnsupportedModel, match=r"'t5'.*bert, electra.*onnx/model\.onnx"):
        podium.load(model)


@pytest.mark.parametrize("activation", ["Softmax", "GELU"])
def test_activation_that_could_change_the_order_is_refused(model, activation):
    name = f"torch.nn.modules.activation.{activation}"
    edit_json(model / "config.json", sentence_transformers={"activation_fn": name})
    with pytest.raises(UnsupportedModel, match=r"activation.*Sigmoid"):
        podium.load(model)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"sentence_transformers": {"activation_fn": IDENTITY}}, "logit"),
        ({"sentence_transformers": {}, "sbert_ce_default_activation_function": IDENTITY}, "logit"),
        ({"sentence_transformers": None, "sbert_ce_default_activation_function": None}, "sigmoid"),
        ({"sentence_transformers": {"activation_fn": "mine.Activation"}}, "sigmoid"),
    ],
    ids=["new-key", "old-key", "default", "foreign"],
)
def test_activation_is_read_as_in_sentence_transformers(model, config, kind):
    edit_json(model / "config.json", **config)
    with podium.load(model) as reranker:
        assert reranker.rerank("q", ["a"]).score_kind == kind


DAMAGE = {
    "no-config": (lambda folder: (folder / "config.json").unlink(), ModelNotFound, "no config.json"),
    "invalid-json": (lambda folder: (folder / "config.json").write_text("{"), ModelError, "not valid JSON"),
    "not-an-object": (lambda folder: (folder / "config.json").write_text("[]"), ModelError, "not a JSON object"),
    "no-tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), ModelNotFound, "no tokenizer"),
    "no-weights": (lambda folder: (folder / "model.safetensors").unlink(), ModelNotFound, "no weights"),
    "heads": (
        lambda folder: edit_json(folder / "config.json", num_attention_heads=5), UnsupportedModel, "5 attention heads"
    ),
    "hidden-activation": (
        lambda folder: edit_json(folder / "config.json", hidden_act="mish"), UnsupportedModel, "'mish'"
    ),
    "number-as-string": (
        lambda folder: edit_json(folder / "config.json", num_hidden_layers="3"), UnsupportedModel,
        "num_hidden_layers '3', which is not a whole number",
    ),
    "huge-number": (
        lambda folder: edit_json(folder / "config.json", num_hidden_layers=10**9), UnsupportedModel,
        "num_hidden_layers 1000000000; podium runs models with at most 1,000",
    ),
    "module-outside": (
        lambda folder: (folder / "modules.json").write_text('[{"type": "x.Transformer", "path": "../.."}]'),
        UnsupportedModel, "outside",
    ),
    "unknown-module": (
        lambda folder: (folder / "modules.json").write_text(
            '[{"type": "x.Transformer", "path": ""}, {"type": "x.CNN", "path": ""}]'
        ),
        ModelError, "CNN",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "error", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_model_is_refused(model, damage, error, message):
    damage(model)
    with pytest.raises(error, match=message):
        podium.load(model)


@pytest.mark.parametrize("content", ["[]", "5", "null", '"x"', "[" * 100_000], ids=["list", "number", "null", "string", "deep"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "modules.json", "tokenizer.json", "vocab.txt"])
def test_nonsense_in_a_file_is_ignored_or_a_model_error(model, name, content):
    (model / name).write_text(content)
    if name == "vocab.txt":
        (model / "tokenizer.json").unlink()  # only then is vocab.txt read
    with contextlib.suppress(ModelError), podium.load(model) as reranker:
        assert reranker.rerank("rank", ["query"]).usage.pairs == 1


@pytest.mark.parametrize("value", ["3", [3], None, 2.5, 0, -1, 10**9], ids=str)
@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads", "hidden_size", "max_position_embeddings"])
def test_nonsense_in_config_is_a_model_error(model, key, value):
    edit_json(model / "config.json", **{key: value})
    with pytest.raises(ModelError):
        podium.load(model)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("deberta-v3", {"relative_attention": False}, "relative_attention"),
        ("modernbert", {"rope_scaling": {"type": "yarn"}}, "rotary positions"),
        ("modernbert", {"layer_types": ["chunked_attention"] * 4}, "chunked_attention"),
        ("modernbert", {"classifier_pooling": "max"}, "classifier_pooling 'max'"),
    ],
    ids=["deberta-attention", "rope", "layer-types", "pooling"],
)
def test_unsupported_setting_is_refused(name, changes, message):
    config = json.loads((PARITY_MODELS / name / "config.json").read_text()) | changes
    with pytest.raises(UnsupportedModel, match=message):
        family_of(config["model_type"], FAMILIES).architecture.from_json(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 32.0}, "hidden_size 32.0, which is not a whole number"),
        ({"hidden_size": True}, "hidden_size True, which is not a whole number"),
        ({"layer_norm_eps": "1e-12"}, "layer_norm_eps '1e-12', which is not a number"),
        ({"hidden_act": None}, "hidden_act None, which is not a string"),
    ],
    ids=["float", "boolean", "string", "null"],
)
def test_setting_of_another_type_is_refused(changes, message):
    config = json.loads((PARITY_MODELS / "bert" / "config.json").read_text()) | changes
    with pytest.raises(UnsupportedModel, match=message):
        family_of("bert", FAMILIES).architecture.from_json(config)


@pytest.mark.parametrize("model_type", [model_type for family in FAMILIES for model_type in family.model_types])
def test_missing_setting_is_refused(model_type):
    with pytest.raises(UnsupportedModel, match=r"config\.json has no '"):
        family_of(model_type, FAMILIES).architecture.from_json({})


def test_deberta_reads_attention_terms_of_older_configs(tmp_path):
    """Older configs have one string with "|" between the terms, which has to be split, as transformers does."""
    folder = shutil.copytree(PARITY_MODELS / "deberta-v3", tmp_path / "model")
    expected = LocalScorer(from_folder(folder)).score("rank", ["query list"]).raw
    edit_json(folder / "config.json", pos_att_type="p2c|c2p")
    assert LocalScorer(from_folder(folder)).score("rank", ["query list"]).raw == expected


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
    ],
    ids=["new-key", "old-cls", "old-mean"],
)
def test_pooling_is_read_from_a_name_or_from_flags(ettin, config, pooling):
    (ettin / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert read_spec(ettin).pooling == pooling


@pytest.mark.parametrize(
    "config", [{}, {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, {"pooling_mode": "max"}], ids=str
)
def test_other_pooling_is_refused(ettin, config):
    (ettin / "1_Pooling" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModel, match="podium has cls and mean"):
        read_spec(ettin)


@pytest.mark.parametrize(
    ("podium_config", "precision"), [({"precision": "int8"}, "int8"), ({}, "float32"), (None, "float32")], ids=str
)
def test_config_json_can_have_the_default_precision(model, podium_config, precision):
    edit_json(model / "config.json", podium=podium_config)
    with podium.load(model) as reranker:
        assert reranker.scorer.precision == precision
    with podium.load(model, precision="float32") as reranker:
        assert reranker.scorer.precision == "float32"


def test_bundled_model_is_int8_by_default(mini):
    assert mini.scorer.precision == "int8"

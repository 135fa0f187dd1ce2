"""The settings of decoders in config.json: those that podium does not implement are refused, the others are read."""

from __future__ import annotations

import numpy as np
import pytest

from environment import NEEDS_CORE, PARITY_MODELS
from podium.errors import UnsupportedModel
from podium.local.build import load, load_decoder
from podium.local.families.gemma import Gemma
from podium.local.families.llama import MAX_TOKENS, Llama
from podium.local.families.llama_bidirectional import BidirectionalLlama
from podium.local.families.qwen2 import Qwen2
from podium.local.families.qwen3 import Qwen3
from podium.local.graph import Llama3Scaling
from podium.local.runtimes import Variant
from podium.local.spec import read_spec

REQUIRED = {"num_hidden_layers": 1, "num_attention_heads": 4, "hidden_size": 32, "max_position_embeddings": 4096}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
FOLDER = PARITY_MODELS / "decoders"


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        pytest.param(Llama, {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn'", id="yarn"),
        pytest.param(Llama, {"rope_scaling": {"type": "linear", "factor": 4.0}}, "'linear'", id="linear"),
        pytest.param(Llama, {"rope_parameters": {"rope_type": "dynamic"}}, "'dynamic'", id="dynamic"),
        pytest.param(Llama, {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "without", id="llama3-incomplete"),
        pytest.param(Llama, {"partial_rotary_factor": 0.5}, "a part of each head", id="partial"),
        pytest.param(Llama, {"rope_parameters": {"full_attention": {}}}, "different layers", id="by-layer"),
        pytest.param(Qwen3, {"rope_parameters": {"partial_rotary_factor": 0.5}}, "a part of each head", id="partial-new"),
        pytest.param(Gemma, {"use_bidirectional_attention": True}, "bidirectional", id="bidirectional-gemma"),
        pytest.param(BidirectionalLlama, {"temperature": 0.5}, "temperature", id="temperature"),
        pytest.param(Llama, {"num_key_value_heads": "two"}, "not a whole number", id="type"),
    ],
)
def test_settings_that_podium_does_not_implement_are_refused(architecture, settings, message):
    with pytest.raises(UnsupportedModel, match=message):
        architecture.from_json(REQUIRED | settings)


@pytest.mark.parametrize("model_type", ["gemma2", "gemma3_text", "qwen3_5_text", "minicpm", "mistral"])
def test_relatives_with_other_layers_are_no_family(tmp_path, model_type):
    """Gemma 2, for example, has softcapping."""
    (tmp_path / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    with pytest.raises(UnsupportedModel, match=model_type):
        read_spec(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "settings", "position_count"),
    [
        pytest.param(Llama, {}, 4096, id="positions"),
        pytest.param(Llama, {"max_position_embeddings": 131_072}, MAX_TOKENS, id="many-positions"),
        pytest.param(Llama, {"sliding_window": 1024}, 1024, id="window"),
        pytest.param(Qwen2, {"sliding_window": 1024}, 4096, id="unused-window"),
        pytest.param(Qwen2, {"sliding_window": 1024, "use_sliding_window": True}, 1024, id="used-window"),
        pytest.param(Llama, {"sliding_window": 9, "layer_types": ["full_attention"]}, 4096, id="window-of-no-layer"),
        pytest.param(Llama, {"sliding_window": 9, "layer_types": ["sliding_attention"]}, 9, id="window-of-a-layer"),
        pytest.param(Qwen3, {"sliding_window": None, "use_sliding_window": True}, 4096, id="no-window"),
    ],
)
def test_text_is_not_longer_than_a_sliding_window(architecture, settings, position_count):
    """Within the window, the layers are those without a window."""
    assert architecture.from_json(REQUIRED | settings).position_count == position_count


def test_null_means_the_default():
    config = dict.fromkeys(["head_dim", "num_key_value_heads", "rope_scaling", "rope_theta", "hidden_act", "sliding_window"])
    assert Llama.from_json(REQUIRED | config) == Llama.from_json(REQUIRED)
    rope = {"rope_type": "default", "rope_theta": None, "partial_rotary_factor": None}
    assert Llama.from_json(REQUIRED | {"rope_parameters": rope}).rope_theta == 10_000


@pytest.mark.parametrize(
    ("settings", "activation"),
    [
        ({}, "gelu_pytorch_tanh"),
        ({"hidden_act": "gelu"}, "gelu_pytorch_tanh"),
        ({"hidden_act": "gelu", "hidden_activation": None}, "gelu_pytorch_tanh"),
        ({"hidden_act": "gelu", "hidden_activation": "gelu"}, "gelu"),
    ],
    ids=["missing", "first-release", "null", "named"],
)
def test_activation_of_gemma(settings, activation):
    assert Gemma.from_json(REQUIRED | settings).hidden_act == activation


def test_llama3_scaling_keeps_high_and_divides_low_frequencies():
    scaling = Llama3Scaling(**LLAMA3)
    high, low = 2 * np.pi / 100, 2 * np.pi / 100_000  # wavelengths of 100 and 100,000 positions
    scaled = scaling.scale(np.array([high, low], np.float32))
    np.testing.assert_allclose(scaled, [high, low / 8], rtol=1e-6)


@NEEDS_CORE
@pytest.mark.parametrize("name", ["qwen3", "llama3"])
def test_causal_model_without_rows_or_classifier_is_refused(name):
    """podium never assumes which tokens are compared."""
    spec = read_spec(FOLDER / name)
    with pytest.raises(UnsupportedModel, match="no trained head"):
        load_decoder(spec, Variant("native", "float32"))
    with pytest.raises(UnsupportedModel, match="no trained head"):
        load(spec, Variant("native", "float32"))


@NEEDS_CORE
def test_rows_of_a_classifier_without_an_output_matrix_are_refused():
    spec = read_spec(FOLDER / "qwen2-two-labels-float16")
    with pytest.raises(UnsupportedModel, match="no output matrix"):
        load_decoder(spec, Variant("native", "float32"), output_rows=[1])


@NEEDS_CORE
def test_encoder_is_not_a_decoder():
    with pytest.raises(UnsupportedModel, match="not a decoder"):
        load_decoder(read_spec(PARITY_MODELS / "bert"), Variant("native", "float32"), output_rows=[1])


@NEEDS_CORE
def test_onnx_runtime_is_refused_with_the_native_core_as_remedy():
    from podium.local.build import variants_for

    with pytest.raises(UnsupportedModel, match="runtime='native'"):
        variants_for(read_spec(FOLDER / "qwen3"), runtime="onnx")
    assert variants_for(read_spec(FOLDER / "qwen3"), precision="auto") == [
        Variant("native", "float32"),
        Variant("native", "int8"),
    ]


def test_code_of_the_bidirectional_llama_is_not_needed():
    assert "auto_map" in read_spec(FOLDER / "llama-bidirectional").config

"""How the files of a language model are read, and which models are refused."""

from __future__ import annotations

import json

import pytest

from checkpoints import edit_json
from language_models import PROMPT_MODELS, read_spec
from podium.errors import ModelError, UnsupportedModel
from podium.local.decoders.prompts import Slot
from podium.local.decoders.spec import is_decoder, read_decoder_spec
from podium.local.files.folder import from_folder, missing_files

LAYOUTS = {
    "Qwen3-Reranker-0.6B": ("qwen3-reranker", ("yes", "no"), "sigmoid", 8192),
    "Qwen3-Reranker-4B-seq-cls": ("qwen3-reranker", (), "sigmoid", 8192),
    "mxbai-rerank-base-v2": ("mxbai-rerank-v2", ("1", "0"), "logit", 8192),
    "mxbai-rerank-base-v2-seq": ("mxbai-rerank-v2", (), "logit", 8192),
    "zerank-2": ("zerank", ("Yes",), "logit", 32_768),
    "bge-reranker-v2-gemma": ("bge-reranker-v2-gemma", ("Yes",), "logit", 512),
    "llama-nemotron-rerank-1b-v2": ("nemotron-rerank", (), "logit", 8192),
    "logit-score": ("its chat template", ("yes", "no"), "logit", 32_768),
    "logit-score-structured": ("its chat template", ("Yes",), "sigmoid", 32_768),
    "head-on-last-token": ("its chat template", (), "logit", 32_768),
    "classifier-with-template": ("its chat template", (), "logit", 32_768),
}


def token_ids(name, tokens):
    content = json.loads((PROMPT_MODELS / name / "tokenizer.json").read_text())
    return tuple(content["model"]["vocab"][token] for token in tokens)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_read(name):
    prompt_name, tokens, score_kind, max_length = LAYOUTS[name]
    spec = read_spec(name)
    assert is_decoder(from_folder(PROMPT_MODELS / name))
    assert spec.prompt.name == prompt_name
    assert spec.output_rows == token_ids(name, tokens)
    assert (spec.activation.kind, spec.max_length) == (score_kind, max_length)


def test_token_of_a_fixed_id_is_not_looked_up():
    assert read_spec("ctxl-rerank-v2-1b").output_rows == (0,)


def test_default_prompt_of_sentence_transformers_is_the_default_instruction():
    prompt = read_spec("logit-score").prompt
    assert prompt.default_instruction == "Given a web search query, retrieve relevant passages that answer the query"
    assert prompt.plain is None


def test_template_without_a_saved_prompt_has_its_own_default():
    """Without a system message, the template writes an instruction of its own."""
    prompt = read_spec("classifier-with-template").prompt
    assert prompt.default_instruction is None
    (piece,) = prompt.plain
    assert "Given a web search query, retrieve" in piece.parts[0]


def test_arguments_of_the_template_are_those_of_the_files():
    """processing_kwargs has add_generation_prompt, and the template ends with it."""
    (piece,) = read_spec("logit-score-structured").prompt.plain
    assert piece.parts[-1].endswith("<|im_start|>assistant\n")
    assert Slot("document", strips_start=True, strips_end=True) in piece.parts


def test_causal_model_without_a_layout_or_a_name_is_refused(model_copy):
    """podium never assumes "yes" and "no", as sentence-transformers does."""
    with pytest.raises(UnsupportedModel, match=r"do not say with which prompt it was trained.*scores would be random"):
        read_spec(model_copy("Qwen3-Reranker-0.6B", "my-model"))


def test_model_with_a_declared_prompt_needs_no_name(model_copy):
    folder = model_copy("Qwen3-Reranker-0.6B", "my-model")
    edit_json(folder / "config.json", podium={"prompt": "qwen3-reranker"})
    assert read_spec(folder).prompt.name == "qwen3-reranker"


def test_declared_prompt_must_exist(model_copy):
    folder = model_copy("Qwen3-Reranker-0.6B")
    edit_json(folder / "config.json", podium={"prompt": "chatml"})
    with pytest.raises(UnsupportedModel, match=r"declares the prompt 'chatml'; podium has qwen3-reranker, mxbai-rerank-v2"):
        read_spec(folder)


def test_name_of_another_architecture_is_not_recognized(model_copy):
    with pytest.raises(UnsupportedModel, match="do not say with which prompt"):
        read_spec(model_copy("Qwen3-Reranker-0.6B", "bge-reranker-v2-gemma"))


def test_logit_score_without_a_template_is_refused(model_copy):
    folder = model_copy("logit-score")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UnsupportedModel, match=r"has no chat template \(chat_template.jinja\)"):
        read_spec(folder)


def test_template_of_the_tokenizer_is_used(model_copy):
    folder = model_copy("logit-score")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    edit_json(folder / "tokenizer_config.json", chat_template=template)
    assert read_spec(folder).prompt == read_spec("logit-score").prompt
    edit_json(folder / "tokenizer_config.json", chat_template=[{"name": "default", "template": template}])
    assert read_spec(folder).prompt == read_spec("logit-score").prompt


@pytest.mark.parametrize(
    "template",
    ["{{ messages[0].content }}", "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"],
    ids=["only the first message", "only user"],
)
def test_template_that_does_not_render_both_roles_is_refused(model_copy, template):
    """Servers that use such a template score all documents alike, without an error."""
    folder = model_copy("logit-score")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(UnsupportedModel, match="does not render the roles query and document"):
        read_spec(folder)


def test_family_with_a_name_replaces_a_template_that_cannot_be_used(model_copy):
    """Conversions have the chat template of the base model, which knows only user and assistant."""
    folder = model_copy("Qwen3-Reranker-4B-seq-cls")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('only user and assistant') }}")
    assert read_spec(folder).prompt.name == "qwen3-reranker"


def test_classifier_without_a_prompt_is_refused(model_copy):
    with pytest.raises(UnsupportedModel, match="has no chat template"):
        read_spec(model_copy("Qwen3-Reranker-4B-seq-cls", "my-model"))


@pytest.mark.parametrize(
    "ids", [{"true_token_id": None}, {"true_token_id": "yes"}, {"true_token_id": -1}, {"false_token_id": 1.5}]
)
def test_compared_ids_must_be_ids(model_copy, ids):
    folder = model_copy("logit-score")
    edit_json(folder / "1_LogitScore" / "config.json", **ids)
    with pytest.raises(UnsupportedModel, match="has no true_token_id, or a token id that is not a whole number"):
        read_spec(folder)


def test_vocabulary_must_have_the_compared_tokens(model_copy):
    folder = model_copy("Qwen3-Reranker-0.6B")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["merges"] = [pair for pair in content["model"]["merges"] if pair[0] + pair[1] != "yes"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UnsupportedModel, match="compares the token 'yes', and its tokenizer does not have this token"):
        read_spec(folder)


def test_other_modules_are_refused(model_copy):
    folder = model_copy("logit-score")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "1_LogitScore", "type": "sentence_transformers.models.Pooling"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UnsupportedModel, match="Transformer → LogitScore → Pooling; podium runs language models as"):
        read_spec(folder)


def test_head_on_another_token_is_refused(model_copy):
    folder = model_copy("head-on-last-token")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
    assert read_spec(folder).output_rows == ()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    with pytest.raises(UnsupportedModel, match="has the pooling 'mean'; podium has lasttoken for language models"):
        read_spec(folder)


def test_code_of_an_unknown_model_is_not_run(model_copy):
    folder = model_copy("logit-score", "my-model")
    edit_json(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling.Model"})
    with pytest.raises(UnsupportedModel, match="needs Python code that comes with it"):
        read_spec(folder)


def test_code_of_a_known_model_is_not_needed(model_copy):
    folder = model_copy("zerank-2")
    edit_json(folder / "config.json", auto_map={"AutoConfig": "modeling_zeranker.ZEConfig"})
    assert read_spec(folder).prompt.name == "zerank"


def test_template_that_is_not_text_is_an_error(model_copy):
    folder = model_copy("logit-score")
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match=r"chat_template.jinja cannot be read"):
        read_spec(folder)


def test_description_changes_with_the_template(model_copy):
    folder = model_copy("logit-score")
    before = read_decoder_spec(from_folder(folder)).description_digest
    with (folder / "chat_template.jinja").open("a") as file:
        file.write(" ")
    assert read_decoder_spec(from_folder(folder)).description_digest != before


def test_logit_score_needs_its_config(model_copy):
    folder = model_copy("logit-score")
    assert missing_files(folder) == []
    (folder / "1_LogitScore" / "config.json").unlink()
    assert missing_files(folder) == ["1_LogitScore/config.json"]


@pytest.mark.parametrize("name", ["bert", "ettin", "late-interaction/pylate-bert"])
def test_encoders_are_not_language_models(name):
    assert not is_decoder(from_folder(PROMPT_MODELS.parent / name))

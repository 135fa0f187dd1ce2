"""Make the fixtures of language models: tiny random rerankers of every layout, and the token ids and logits of the references.

    reference/bin/python tests/parity/make_prompts.py [name …]

tests/parity/make.py describes the environment. The references are the code that the authors of each model published, written
here in other words, and sentence-transformers for its own layouts. Every fixture has prompts below and above a small maximum
length. Weights are random and wide, so that a wrong token changes the logit by much more than 1e-4.
"""

import gzip
import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers as hf
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
FIXTURES = HERE / "prompts"
WORDS = (HERE / "words.txt").read_text(encoding="utf-8").split()
MAX_LENGTH = 200  # of the references, so that long prompts stay small
INSTRUCTION = "Prefer documents about rivers?"

QWEN_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_SPLIT = QWEN_SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN_OTHER = ("<tool_call>", "<think>", "</think>")
"""Tokens that Qwen's tokenizers add to the vocabulary without marking them as special."""

QWEN3_SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
QWEN3_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
MXBAI_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document pair, "
    "carefully analyze the semantic relationship between them, then provide your binary relevance judgment (0 for not "
    "relevant, 1 for relevant).\nRelevance:"
)
BGE_TASK = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a prediction "
    "of either 'Yes' or 'No'."
)
CTXL_TASK = "Check whether a given document contains information helpful to answer the query."


def corpus():
    """Return texts from which the vocabularies are trained: the prompts, the answers, and sentences."""
    draw = random.Random(0)
    prompts = [
        QWEN3_SYSTEM,
        QWEN3_INSTRUCTION,
        MXBAI_TASK,
        BGE_TASK,
        CTXL_TASK,
        "<Instruct>: <Query>: <Document>: question: passage:",
    ]
    answers = ["yes", "no", "Yes", "No"] * 20
    return [*prompts * 4, *answers, *(" ".join(draw.choices(WORDS, k=12)) + ".\n" for _ in range(300))]


def byte_level(split, special, *, other=(), bos=None):
    tokenizer = Tokenizer(models.BPE(ignore_merges=bos is not None))
    tokenizer.normalizer = None if bos else normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(split), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=480, initial_alphabet=alphabet, show_progress=False))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in other])
    byte_level_offsets = processors.ByteLevel(trim_offsets=False)
    if bos:
        template = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
        tokenizer.post_processor = processors.Sequence([byte_level_offsets, template])
    else:
        tokenizer.post_processor = byte_level_offsets
    return tokenizer


def qwen():
    names = {"eos": "<|im_end|>", "pad": "<|endoftext|>"}
    return byte_level(QWEN_SPLIT, QWEN_SPECIAL, other=QWEN_OTHER), "Qwen2Tokenizer", names


def llama():
    special = ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")
    tokenizer = byte_level(LLAMA_SPLIT, special, bos="<|begin_of_text|>")
    return tokenizer, "PreTrainedTokenizerFast", {"bos": special[0], "eos": special[1], "pad": special[1]}


def gemma():
    """Return a tokenizer like Gemma's, whose special tokens are also in the vocabulary of its BPE."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    # The vocabulary is trained on words, because a text is a single word for this pre-tokenizer.
    words = [word for text in corpus() for word in text.replace(" ", " ▁").split(" ")]
    trainer = trainers.BpeTrainer(vocab_size=760, special_tokens=[*special, *fallback, "\n\n"], show_progress=False)
    tokenizer.train_from_iterator(words, trainer)
    settings = json.loads(tokenizer.to_str())
    settings["added_tokens"] = [token for token in settings["added_tokens"] if token["content"] in (*special, "\n\n")]
    for token in settings["added_tokens"]:
        token["normalized"] = False
        token["special"] = token["content"] != "\n\n"
    merges = settings["model"]["merges"]
    vocabulary = settings["model"]["vocab"]
    for left, right in (("<", "b"), ("o", "s"), ("os", ">"), ("<b", "os>")):  # BPE can make a special token from its letters
        vocabulary.setdefault(left + right, len(vocabulary))
        if [left, right] not in merges:
            merges.append([left, right])
    settings["post_processor"] = json.loads(
        processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", vocabulary["<bos>"])]
        ).__getstate__()
    )
    return (
        Tokenizer.from_str(json.dumps(settings)),
        "GemmaTokenizer",
        dict(zip(("pad", "eos", "bos", "unk", "mask"), special, strict=True)),
    )


SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
SIZE |= {"intermediate_size": 48, "max_position_embeddings": 40_960, "rope_theta": 1_000_000.0}


def randomised(model, seed):
    """Return the model with random weights: wide matrices, and biases and norms that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() == 1:
                weight.copy_((0 if name.endswith("bias") else 1) + 0.2 * noise)
            else:
                weight.copy_(noise * (0.6 if "embed" in name else 1.6 / weight.shape[-1] ** 0.5))
    return model.eval()


def network(kind, architecture, tokenizer, seed, **settings):
    """Return a random model of transformers, such as network("Qwen3", "ForCausalLM", …)."""
    config = getattr(hf, f"{kind}Config")(**(SIZE | {"vocab_size": tokenizer.get_vocab_size() + 3} | settings))
    config.architectures = [f"{kind}{architecture}"]
    return randomised(getattr(hf, f"{kind}{architecture}")(config), seed)


def write_tokenizer(folder, tokenizer, tokenizer_class, names):
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {"tokenizer_class": tokenizer_class, "model_max_length": 131_072, "clean_up_tokenization_spaces": False}
    config |= {f"{name}_token": token for name, token in names.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


@dataclass
class Reference:
    """Published code: the ids of a pair, and the logit that is read from the model's output for the last token.

    - `ids`: is called with the tokenizer of transformers, a query, a document, an instruction or None, and a maximum length.
    - `score`: the logit, from the logits of the last token and the tokenizer.
    - `instructions`: the instructions to record, None for none.
    """

    ids: Callable
    score: Callable
    instructions: tuple = (None,)


def plain_ids(tokenizer, text, **options):
    return tokenizer(text, add_special_tokens=False, **options)["input_ids"]


def qwen3_ids(tokenizer, query, document, instruction, max_length):
    prefix = plain_ids(tokenizer, f"<|im_start|>system\n{QWEN3_SYSTEM}<|im_end|>\n<|im_start|>user\n")
    suffix = plain_ids(tokenizer, "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    middle = f"<Instruct>: {instruction or QWEN3_INSTRUCTION}\n<Query>: {query}\n<Document>: {document}"
    room = max_length - len(prefix) - len(suffix)
    return prefix + tokenizer(middle, truncation="longest_first", max_length=room)["input_ids"] + suffix


def qwen3_score(logits, tokenizer):
    yes, no = (tokenizer.convert_tokens_to_ids(token) for token in ("yes", "no"))
    return logits[yes] - logits[no]


def mxbai_ids(tokenizer, query, document, instruction, max_length):
    user = (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    )
    separator = plain_ids(tokenizer, "\n")
    question = f"query: {query}" if instruction is None else f"instruction: {instruction}\nquery: {query}"
    first = plain_ids(tokenizer, question, truncation=True, max_length=max_length * 3 // 4)
    second = separator + plain_ids(tokenizer, f"document: {document}", truncation=True, max_length=max_length)
    pair = first + second[: max_length - len(first)]
    return [
        *plain_ids(tokenizer, user), *pair, *separator, *plain_ids(tokenizer, MXBAI_TASK),
        *plain_ids(tokenizer, "<|im_end|>\n<|im_start|>assistant\n"),
    ]  # fmt: skip


def mxbai_score(logits, tokenizer):
    return logits[plain_ids(tokenizer, "1")[0]] - logits[plain_ids(tokenizer, "0")[0]]


def zerank_ids(tokenizer, query, document, instruction, max_length):
    """The published code has no maximum length; too long prompts are compared as sentence-transformers cuts them."""
    system = (
        f"\n{query}\n".strip() if instruction is None else f"<query>{query}</query>\n<instruction>{instruction}</instruction>"
    )
    user = f"\n{document}\n".strip()
    end = "<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}{end}")["input_ids"]
    tail = plain_ids(tokenizer, end)
    return ids if len(ids) <= max_length else ids[: max_length - len(tail)] + tail


def zerank_score(logits, tokenizer):
    return logits[plain_ids(tokenizer, "Yes")[0]]


def ctxl_ids(tokenizer, query, document, instruction, max_length):
    """Only prompts below the maximum length are recorded: above it, the published code cuts off the query."""
    extra = "" if instruction is None else f" {instruction}"
    ids = tokenizer(f"{CTXL_TASK}\n<Document> {document}\n<Query> {query}{extra} ??")["input_ids"]
    return ids if len(ids) <= max_length else None


def ctxl_score(logits, tokenizer):
    return logits[0]


def bge_ids(tokenizer, query, document, instruction, max_length):
    separator = plain_ids(tokenizer, "\n")
    task = plain_ids(tokenizer, BGE_TASK)
    first = [tokenizer.bos_token_id, *plain_ids(tokenizer, f"A: {query}", truncation=True, max_length=max_length * 3 // 4)]
    second = separator + plain_ids(tokenizer, f"B: {document}", truncation=True, max_length=max_length)
    most = max_length + len(separator) + len(task)
    return first + second[: most - len(first)] + separator + task


def nemotron_ids(tokenizer, query, document, instruction, max_length):
    return tokenizer(f"question:{query} \n \n passage:{document}", truncation=True, max_length=max_length)["input_ids"]


def pairs():
    """Return pairs of a query and a document: short and long ones, and characters at which tokens merge with the prompt's."""
    draw = random.Random(1)
    text = lambda n: " ".join(draw.choices(WORDS, k=n))  # noqa: E731
    sizes = [(1, 1), (2, 9), (6, 20), (8, 40), (5, 400), (150, 3), (150, 200), (400, 2)]
    sized = [(text(a), text(b)) for a, b in sizes]
    odd = [
        ("What is it?", "\n a line"), ("why?\n", "  two spaces"), ("?", "?!"), ("naïve cafe\u0301", "ÀÉÎõü ß."),
        ("東京 tower", "Мир 😀 done\n\n"), ("1234567", "0987654321"), ("<b>a</b>", "x <tool_call> y"), (" a ", "\tb \n"),
        ("a:", ":)"), ("end.", "\u2028 'll I'M"), ("x" * 40, "word\n\n\n\nword " * 30),
    ]  # fmt: skip
    return sized + odd


@torch.inference_mode()
def last_logits(model, ids):
    return model(input_ids=torch.tensor([ids])).logits[0, -1]


def original(make_tokenizer, kind, reference, seed, **settings):
    """Return a function that writes a checkpoint in its authors' layout, and records the results of their code."""

    def write(folder):
        tokenizer, tokenizer_class, names = make_tokenizer()
        model = network(kind, "ForCausalLM", tokenizer, seed, **settings)
        model.save_pretrained(folder)
        write_tokenizer(folder, tokenizer, tokenizer_class, names)
        record(folder, reference, lambda ids, fast: reference.score(last_logits(model, ids), fast).item())

    return write


def classifier(make_tokenizer, kind, reference, seed, *, labels, **settings):
    """Return a function that writes a conversion to a classifier without a chat template."""

    def write(folder):
        tokenizer, tokenizer_class, names = make_tokenizer()
        pad_id = tokenizer.token_to_id(names["pad"])
        settings_with_labels = {**settings, "num_labels": labels, "pad_token_id": pad_id}
        model = network(kind, "ForSequenceClassification", tokenizer, seed, **settings_with_labels)
        model.config.pad_token_id = None  # many conversions lack it, and one text needs no padding
        model.save_pretrained(folder)
        write_tokenizer(folder, tokenizer, tokenizer_class, names)

        def score(ids, fast):
            logits = model(input_ids=torch.tensor([ids])).logits[0]
            return (logits[1] - logits[0] if labels == 2 else logits[0]).item()

        record(folder, reference, score)

    return write


def nemotron(folder):
    """Write a bidirectional Llama with a mean and a classifier, and record the logits of the same computation."""
    tokenizer, tokenizer_class, names = llama()
    model = network("Llama", "ForSequenceClassification", tokenizer, 7, num_labels=1, pad_token_id=0, rope_theta=500_000.0)
    model.save_pretrained(folder)
    write_tokenizer(folder, tokenizer, tokenizer_class, names)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "llama_bidirec",
        "architectures": ["LlamaBidirectionalForSequenceClassification"],
        "pooling": "avg",
    }
    config["auto_map"] = {
        "AutoModelForSequenceClassification": "llama_bidirectional_model.LlamaBidirectionalForSequenceClassification"
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    def score(ids, fast):
        mask = torch.zeros(1, 1, len(ids), len(ids))  # added to the attention's logits, so nothing is hidden
        hidden = model.model(input_ids=torch.tensor([ids]), attention_mask=mask, use_cache=False).last_hidden_state
        return model.score(hidden.mean(1))[0, 0].item()

    record(folder, Reference(nemotron_ids, None), score)


@torch.inference_mode()
def record(folder, reference, score):
    """Record the token ids and logits of pairs, with every instruction, below and above the maximum length."""
    fast = hf.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **special_names(folder))
    entries = []
    for instruction in reference.instructions:
        for query, document in pairs():
            ids = reference.ids(fast, query, document, instruction, MAX_LENGTH)
            if ids is not None:
                entries.append([instruction, query, document, ids, score(ids, fast)])
    write_expected(folder, entries)


def special_names(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    return {name: settings[name] for name in ("bos_token", "eos_token", "pad_token", "unk_token") if name in settings}


def write_expected(folder, entries):
    columns = ("instruction", "query", "document", "ids", "logit")
    rows = [dict(zip(columns, (*entry[:4], float(f"{entry[4]:.8g}")), strict=True)) for entry in entries]
    content = json.dumps({"max_length": MAX_LENGTH, "entries": rows}, ensure_ascii=False).encode()
    (folder / "expected.json.gz").write_bytes(gzip.compress(content, mtime=0))
    logits = [row["logit"] for row in rows]
    print(f"{folder.name:24s} {len(rows):3d} prompts of {min(len(row['ids']) for row in rows)} to "
          f"{max(len(row['ids']) for row in rows)} tokens  logits spread {max(logits) - min(logits):.2f}")  # fmt: skip
    assert max(logits) - min(logits) > 0.3


ROLES = '{{ messages | selectattr("role", "eq", "%s") | map(attribute="content") | first%s }}'
QWEN3_TEMPLATE = (
    f"<|im_start|>system\n{QWEN3_SYSTEM}<|im_end|>\n<|im_start|>user\n<Instruct>: "
    + ROLES % ("system", f' | default("{QWEN3_INSTRUCTION}", true)')
    + "\n<Query>: " + ROLES % ("query", "") + "\n<Document>: " + ROLES % ("document", "")
    + "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n\n"
)  # fmt: skip
LOOP_TEMPLATE = """{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content[0].text | trim + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""


ARCHITECTURES = {
    "text-generation": "ForCausalLM",
    "sequence-classification": "ForSequenceClassification",
    "feature-extraction": "Model",
}


@dataclass
class Layout:
    """A model in the layout of sentence-transformers."""

    template: str
    task: str = "text-generation"
    compared: tuple = ("yes", "no")
    activation: torch.nn.Module = field(default_factory=torch.nn.Identity)
    prompt: str | None = None
    settings: dict = field(default_factory=dict)


def saved_by_sentence_transformers(make_tokenizer, kind, layout, seed, **settings):
    """Return a function that writes a model as sentence-transformers saves it, and records that library's results."""

    def write(folder):
        scratch = folder / "scratch"
        scratch.mkdir()
        tokenizer, tokenizer_class, names = make_tokenizer()
        is_classifier = layout.task == "sequence-classification"
        labels = {"num_labels": 1, "pad_token_id": tokenizer.token_to_id(names["pad"])} if is_classifier else {}
        network(kind, ARCHITECTURES[layout.task], tokenizer, seed, **settings, **labels).save_pretrained(scratch)
        write_tokenizer(scratch, tokenizer, tokenizer_class, names)
        (scratch / "chat_template.jinja").write_text(layout.template, encoding="utf-8")
        modules = [Transformer(str(scratch), transformer_task=layout.task, **layout.settings)]
        if layout.task == "feature-extraction":
            modules.append(Pooling(SIZE["hidden_size"], pooling_mode="lasttoken"))
            modules.append(randomised(Dense(SIZE["hidden_size"], 24, activation_function=torch.nn.GELU()), seed))
            last = Dense(24, 1, activation_function=torch.nn.Identity(), module_output_name="scores")
            modules.append(randomised(last, seed + 1))
        elif not is_classifier:
            ids = [None if token is None else tokenizer.token_to_id(token) for token in layout.compared]
            modules.append(LogitScore(*ids))
        prompts = {"query": layout.prompt} if layout.prompt else None
        model = CrossEncoder(
            modules=modules, activation_fn=layout.activation, prompts=prompts,
            default_prompt_name="query" if layout.prompt else None, device="cpu",
        )  # fmt: skip
        model.save_pretrained(str(folder), create_model_card=False)
        shutil.rmtree(scratch)
        record_sentence_transformers(folder)

    return write


@torch.inference_mode()
def record_sentence_transformers(folder):
    model = CrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    model.max_seq_length = MAX_LENGTH
    entries = []
    for instruction in (None, INSTRUCTION):
        for query, document in pairs():
            options = {} if instruction is None else {"prompt": instruction}
            prompt = instruction or model.prompts.get(model.default_prompt_name)
            ids = model.preprocess([(query, document)], prompt=prompt)["input_ids"][0].tolist()
            logit = model.predict([(query, document)], activation_fn=torch.nn.Identity(), **options).item()
            entries.append([instruction, query, document, ids, logit])
    write_expected(folder, entries)


def fixtures():
    both = (None, INSTRUCTION)
    qwen3 = Reference(qwen3_ids, qwen3_score, both)
    mxbai = Reference(mxbai_ids, mxbai_score, both)
    zerank = Reference(zerank_ids, zerank_score, both)
    ctxl = Reference(ctxl_ids, ctxl_score, both)
    bge = Reference(bge_ids, zerank_score)
    flat = Layout(QWEN3_TEMPLATE, prompt=QWEN3_INSTRUCTION)
    loop = Layout(
        LOOP_TEMPLATE, compared=("Yes", None), activation=torch.nn.Sigmoid(),
        settings={"processing_kwargs": {"chat_template": {"add_generation_prompt": True}}},
    )  # fmt: skip
    with_classifier = Layout(QWEN3_TEMPLATE, task="sequence-classification")
    with_head = Layout(QWEN3_TEMPLATE, task="feature-extraction")
    return {
        "Qwen3-Reranker-0.6B": original(qwen, "Qwen3", qwen3, 1, tie_word_embeddings=True),
        "mxbai-rerank-base-v2": original(qwen, "Qwen2", mxbai, 2, tie_word_embeddings=True, head_dim=8),
        "zerank-2": original(qwen, "Qwen3", zerank, 3, tie_word_embeddings=False),
        "ctxl-rerank-v2-1b": original(qwen, "Qwen3", ctxl, 4),
        "bge-reranker-v2-gemma": original(gemma, "Gemma", bge, 5, hidden_act="gelu_pytorch_tanh"),
        "llama-nemotron-rerank-1b-v2": nemotron,
        "Qwen3-Reranker-4B-seq-cls": classifier(qwen, "Qwen3", qwen3, 8, labels=1),
        "mxbai-rerank-base-v2-seq": classifier(qwen, "Qwen2", mxbai, 9, labels=2, head_dim=8),
        "logit-score": saved_by_sentence_transformers(qwen, "Qwen3", flat, 10),
        "logit-score-structured": saved_by_sentence_transformers(qwen, "Qwen2", loop, 11, head_dim=8),
        "head-on-last-token": saved_by_sentence_transformers(qwen, "Qwen3", with_head, 13),
        "classifier-with-template": saved_by_sentence_transformers(qwen, "Qwen3", with_classifier, 12),
    }


def main():
    names = sys.argv[1:]
    for name, write in fixtures().items():
        if names and name not in names:
            continue
        folder = FIXTURES / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write(folder)
        for file in ("README.md", "generation_config.json", "special_tokens_map.json"):
            (folder / file).unlink(missing_ok=True)


if __name__ == "__main__":
    main()

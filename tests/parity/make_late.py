"""Make the parity fixtures of late interaction: tiny random ColBERT checkpoints of every layout and option, and the token ids
and scores of sentence-transformers' MultiVectorEncoder.

    python -m venv reference && reference/bin/pip install torch==2.13.0 sentence-transformers==6.2.0
    reference/bin/python tests/parity/make_late.py [name …]

The tests do not run this file, but read the files that it wrote. This file writes PyLate's and Stanford's files as those
packages write them. sentence-transformers saves its own files. Weights are stored in float16, and results computed in float32.
"""

import json
import random
import shutil
import sys

import torch
import transformers as hf
from make import (
    BERT_SPECIAL,
    HERE,
    WORDS,
    byte_bpe,
    make_folder,
    randomised,
    wordpiece,
    write_expected,
    write_tokenizer,
    xlm_unigram,
)
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from tokenizers import AddedToken, Tokenizer

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
POSITIONS = 64
GELU, TANH = "torch.nn.modules.activation.GELU", "torch.nn.modules.activation.Tanh"
IDENTITY = "torch.nn.modules.linear.Identity"
ONE_DENSE = [{"in_features": 32, "out_features": 16, "bias": False, "activation_function": IDENTITY}]
THREE_DENSE = [
    {"in_features": 32, "out_features": 48, "bias": True, "activation_function": GELU, "use_residual": True},
    {"in_features": 48, "out_features": 48, "bias": False, "activation_function": IDENTITY, "use_residual": True},
    {"in_features": 48, "out_features": 16, "bias": True, "activation_function": TANH},
]
UNNAMED_TANH = [*THREE_DENSE[:2], {"in_features": 48, "out_features": 16, "bias": True}]
PYLATE = {"model_type": "ColBERT", "similarity_fn_name": "MaxSim", "query_length": 16, "document_length": 40}


# Tokenizers and backbones.


def with_markers(tokenizer_parts, *markers, special=False, normalized=True):
    """Add marker tokens as PyLate does."""
    tokenizer = tokenizer_parts[0]
    tokenizer.add_tokens([AddedToken(marker, special=special, normalized=normalized) for marker in markers])
    return tokenizer_parts


def with_pieces(tokenizer_parts, *pieces):
    """Add ordinary pieces to the vocabulary, such as BERT's [unused0]."""
    tokenizer, *rest = tokenizer_parts
    description = json.loads(tokenizer.to_str())
    vocabulary = description["model"]["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary |= {piece: len(vocabulary) + index for index, piece in enumerate(pieces)}
    else:
        vocabulary += [[piece, -8.0 - index] for index, piece in enumerate(pieces)]
    return Tokenizer.from_str(json.dumps(description)), *rest


def bert_tokenizer(*markers, **options):
    return with_markers(with_pieces(wordpiece(), *".,!?(&", "[unused0]", "[unused1]"), *markers, **options)


def xlm_tokenizer(*markers):
    return with_markers(with_pieces(xlm_unigram(), *".,!?"), *markers)


def modernbert_tokenizer(*markers):
    return with_markers(byte_bpe(BERT_SPECIAL, roberta=False), *markers, special=True, normalized=False)


def bert(seed):
    config = hf.BertConfig(**SIZE, vocab_size=320, max_position_embeddings=POSITIONS)
    return randomised(hf.BertModel(config, add_pooling_layer=False), seed)


def modernbert(seed, window=16):
    config = hf.ModernBertConfig(
        **SIZE, vocab_size=404, max_position_embeddings=POSITIONS, local_attention=window, global_attn_every_n_layers=2,
        pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    return randomised(hf.ModernBertModel(config), seed)


def xlm_roberta(seed):
    config = hf.XLMRobertaConfig(
        **SIZE, vocab_size=320, max_position_embeddings=POSITIONS + 2, type_vocab_size=1, pad_token_id=1, bos_token_id=0,
        eos_token_id=2,
    )  # fmt: skip
    return randomised(hf.XLMRobertaModel(config, add_pooling_layer=False), seed)


# Layouts.


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def dense(config, seed):
    """Return a Dense with random weights."""
    from sentence_transformers.util import import_from_string

    activation = config.get("activation_function", TANH)
    changes = {"activation_function": import_from_string(activation)(), "module_input_name": "token_embeddings"}
    return randomised(Dense(**(config | changes)), seed)


def pylate(backbone, tokenizer, *, denses=ONE_DENSE, lower=False, **settings):
    """Return a function that writes the layout of PyLate 1.x, which lists only the transformer and the Dense modules."""

    def write(folder):
        backbone.half().save_pretrained(folder)
        write_tokenizer(folder, tokenizer, POSITIONS)
        modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
        for number, config in enumerate(denses, start=1):
            path = f"{number}_Dense"
            modules.append({"idx": number, "name": str(number), "path": path, "type": "pylate.models.Dense.Dense"})
            write_json(folder / path / "config.json", config)
            weights = {name: tensor.half().contiguous() for name, tensor in dense(config, 40 + number).state_dict().items()}
            save_file(weights, folder / path / "model.safetensors")
        write_json(folder / "modules.json", modules)
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": POSITIONS - 1, "do_lower_case": lower})
        write_json(folder / "config_sentence_transformers.json", PYLATE | settings)

    return write


def native(backbone, tokenizer, *, denses=ONE_DENSE, mask=None, similarity="maxsim", prompts=None, lower=False, **lengths):
    """Return a function that writes the layout of sentence-transformers 6, with its own code."""

    def write(folder):
        scratch = folder / "scratch"
        scratch.mkdir()
        backbone.save_pretrained(scratch)
        write_tokenizer(scratch, tokenizer, POSITIONS)
        modules = [Transformer(str(scratch), do_lower_case=lower, **lengths)]
        modules += [dense(config, 50 + number) for number, config in enumerate(denses)]
        modules += [MultiVectorMask(**(mask or {})), Normalize(module_input_name="token_embeddings")]
        model = MultiVectorEncoder(modules=modules, prompts=prompts, similarity_fn_name=similarity, device="cpu")
        model.half().save_pretrained(str(folder), create_model_card=False)
        shutil.rmtree(scratch)

    return write


def stanford(backbone, tokenizer, prefix, metadata):
    """Return a function that writes the layout of Stanford's code: a file of all weights, and artifact.metadata."""

    def write(folder):
        backbone.config.architectures = ["HF_ColBERT"]
        backbone.config.save_pretrained(folder)
        write_tokenizer(folder, tokenizer, POSITIONS)
        weights = {prefix + name: tensor.half().contiguous() for name, tensor in backbone.state_dict().items()}
        weights["linear.weight"] = torch.randn(16, 32, generator=torch.Generator().manual_seed(60)) / 3
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        if metadata is not None:
            (folder / "artifact.metadata").write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")

    return write


def in_subfolder(write):
    """Return a function that writes Stanford's files, and a modules.json whose transformer is in a subfolder."""

    def write_both(folder):
        write(folder)
        subfolder = folder / "0_Transformer"
        subfolder.mkdir()
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(folder / name, subfolder)
        (folder / "model.safetensors").rename(subfolder / "model.safetensors")  # real checkpoints have both files
        config = ONE_DENSE[0] | {"module_input_name": "token_embeddings"}
        write_json(folder / "1_Dense" / "config.json", config)
        save_file({"linear.weight": dense(config, 61).linear.weight.detach().half()}, folder / "1_Dense" / "model.safetensors")
        paths = {"0_Transformer": "sentence_transformers.models.Transformer", "1_Dense": "pylate.models.Dense.Dense"}
        entries = [{"idx": i, "name": str(i), "path": path, "type": paths[path]} for i, path in enumerate(paths)]
        write_json(folder / "modules.json", entries)
        prefixes = {"query_prefix": "[unused0]", "document_prefix": "[unused1]"}
        write_json(folder / "config_sentence_transformers.json", PYLATE | prefixes)

    return write_both


def fixtures():
    spaced, plain = ("[Q] ", "[D] "), ("[unused0]", "[unused1]")
    prefixes = {"query_prefix": "[Q] ", "document_prefix": "[D] "}
    unused = {"query_prefix": "[unused0]", "document_prefix": "[unused1]"}
    fixed = {"strategy": "fixed", "attend": True, "length": 16}
    least = {"strategy": "min", "attend": False, "length": 16}
    metadata = {
        "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 16, "doc_maxlen": 40, "dim": 16,
        "mask_punctuation": True, "attend_to_mask_tokens": False, "similarity": "cosine", "interaction": "colbert",
    }  # fmt: skip
    return {
        "pylate-bert": pylate(bert(1), bert_tokenizer(*spaced), **prefixes),
        "pylate-bert-attended": pylate(
            bert(2), bert_tokenizer(), denses=UNNAMED_TANH, **unused, attend_to_expansion_tokens=True,
            skiplist_words=["the", "of", "unknownword"], prompts={"query": "capital of: ", "document": "never "},
        ),
        "pylate-text-markers": pylate(bert(3), bert_tokenizer(), **prefixes, do_query_expansion=False),
        "pylate-no-markers": pylate(
            bert(4), bert_tokenizer(), query_prefix="", document_prefix="", do_query_expansion=True, skiplist_words=[]
        ),
        "pylate-modernbert": pylate(
            modernbert(5), modernbert_tokenizer(*spaced), denses=THREE_DENSE, lower=True, **prefixes, do_query_expansion=False
        ),
        "pylate-modernbert-expanded": pylate(modernbert(6, window=64), modernbert_tokenizer(*spaced), **prefixes),
        "pylate-modernbert-far": pylate(
            modernbert(7), modernbert_tokenizer(*spaced), **(prefixes | {"query_length": 48})
        ),
        "pylate-xlm-roberta": pylate(xlm_roberta(8), xlm_tokenizer("[QueryMarker]", "[DocumentMarker]"),
                                     query_prefix="[QueryMarker]", document_prefix="[DocumentMarker]"),
        "native-bert-min": native(
            bert(9), bert_tokenizer(*spaced, special=True, normalized=False), query_length=30, document_length=40,
            query_expansion=least, prompts={"query": "[Q] ", "document": "[D] "},
            mask={"skiplist_words": [".", "!", "the"], "skiplist_tasks": ["query", "document"]},
        ),
        "native-modernbert-mean": native(
            modernbert(10), modernbert_tokenizer(), denses=THREE_DENSE, similarity="meanmaxsim", lower=True,
            query_expansion=fixed, prompts={"query": "query: ", "passage": "text: "},
        ),
        "native-xlm-roberta": native(xlm_roberta(11), xlm_tokenizer(), query_length=12, document_length=40),
        "stanford-bert": stanford(bert(12), bert_tokenizer(), "bert.", metadata),
        "stanford-bert-without-metadata": stanford(bert(13), bert_tokenizer(), "bert.", None),
        "stanford-xlm-roberta": stanford(
            xlm_roberta(14), xlm_tokenizer(*plain), "roberta.",
            metadata | {"attend_to_mask_tokens": True, "mask_punctuation": False},
        ),
        "stanford-and-modules": in_subfolder(stanford(bert(15), bert_tokenizer(), "bert.", metadata)),
    }  # fmt: skip


# Expected values.


def texts(sizes, seed, odd):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=size)) for size in sizes] + odd


ODD_QUERIES = ["What, exactly, is it?", "[Q] naïve CAFÉ", "東京 (tower)!", "[MASK] 😀 [PAD]", "  spaces  around  "]
ODD_DOCUMENTS = ["One. Two, three! (four) & five?", "[D] ÀÉÎõü ß", "東京 tower, Мир.", "...", " a\tb\n\nc "]
QUERIES = texts([1, 2, 5, 9, 13, 40], 1, ODD_QUERIES)
DOCUMENTS = texts([1, 3, 8, 21, 60, 150], 2, ODD_DOCUMENTS)


def tokens_of(texts, features):
    """Return the token ids of each text, and which of its tokens are compared."""
    return [
        {"text": text, "ids": row["input_ids"].tolist(), "scored": row["attention_mask"].int().tolist()}
        for text, row in zip(texts, features, strict=True)
    ]


def record(folder):
    """Record the tokens and scores of sentence-transformers for the model in a folder."""
    model = MultiVectorEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    model.float()
    queries = model.encode_query(QUERIES, batch_size=1, output_value=None)
    documents = model.encode_document(DOCUMENTS, batch_size=1, output_value=None)
    query_rows, document_rows = model.encode_query(QUERIES, batch_size=1), model.encode_document(DOCUMENTS, batch_size=1)
    scores = model.similarity(query_rows, document_rows)
    expected = {"queries": tokens_of(QUERIES, queries), "documents": tokens_of(DOCUMENTS, documents)}
    expected |= {"dimensions": query_rows[0].shape[1], "scores": [[float(f"{x:.8g}") for x in row] for row in scores.tolist()]}
    write_expected(folder, expected)
    spread = scores.max(1).values - scores.min(1).values
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder.name:32s} {size // 1000:4d} KB  scores spread {spread.min():.2f} to {spread.max():.2f}")


def main(names):
    for name, write in fixtures().items():
        if not names or name in names:
            record(make_folder(HERE / "late-interaction" / name, write))


if __name__ == "__main__":
    torch.manual_seed(0)
    main(sys.argv[1:])

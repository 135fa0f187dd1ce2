"""Make the parity fixtures: tiny random checkpoints of every family, and the logits or vectors of sentence-transformers.

    python -m venv reference && reference/bin/pip install torch sentence-transformers==6.2.0 onnx onnxscript snowballstemmer
    reference/bin/python tests/parity/make.py [name …]

The tests do not run this file, but read the files that it wrote. Weights are spread much wider than trained ones, so that a
wrong operator, segment id or position changes the logits by much more than 1e-4.
"""

import gzip
import json
import pathlib
import random
import shutil
import sys

import torch
import transformers as hf
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import LayerNorm, Normalize, Pooling
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "training"))  # the modules of podium's own family
WORDS = (HERE / "words.txt").read_text(encoding="utf-8").split()
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
# podium's own family: the logit is the sum of the weighted features of a comparison, and an offset.
WEIGHTS = torch.tensor([1.0, 1.5, 0.7, 2.0])
OFFSET = -0.5
SIZE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}


def corpus():
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=12)) for _ in range(400)]


def template(cls, sep, *, doubled=False, pair_type=1):
    """Return a function from a tokenizer to its template of special tokens. `pair_type` is the second text's segment."""
    middle = f"{sep}:0 {sep}:0" if doubled else f"{sep}:0"
    pair = f"{cls}:0 $A:0 {middle} $B:{pair_type} {sep}:{pair_type}"
    return lambda tokenizer: processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=pair, special_tokens=[(t, tokenizer.token_to_id(t)) for t in (cls, sep)]
    )


# Each of the next functions returns a tokenizer, its class in transformers, and the names of its special tokens.
def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=300, special_tokens=BERT_SPECIAL))
    tokenizer.post_processor = template("[CLS]", "[SEP]")(tokenizer)
    return tokenizer, "BertTokenizer", dict(zip(("pad", "unk", "cls", "sep", "mask"), BERT_SPECIAL, strict=True))


def byte_bpe(special=ROBERTA_SPECIAL, roberta=True):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        corpus(), trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    if roberta:
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
        names = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>", "cls": "<s>", "sep": "</s>"}
        return tokenizer, "RobertaTokenizer", names
    tokenizer.post_processor = template("[CLS]", "[SEP]", pair_type=0)(tokenizer)
    return tokenizer, "PreTrainedTokenizerFast", dict(zip(("pad", "unk", "cls", "sep", "mask"), special, strict=True))


def unigram(special, names, tokenizer_class, *, normalizer, pre_tokenizer, pair):
    tokenizer = Tokenizer(models.Unigram())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token=names["unk"])
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = pair(tokenizer)
    return tokenizer, tokenizer_class, names


def xlm_unigram():
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    pair = template("<s>", "</s>", doubled=True, pair_type=0)
    return unigram(special, names, "XLMRobertaTokenizer", normalizer=None, pre_tokenizer=split, pair=pair)


def deberta_unigram():
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    names = {"cls": "[CLS]", "sep": "[SEP]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]", "pad": "[PAD]", "mask": "[MASK]"}
    spaces = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    tidy = normalizers.Sequence([spaces, normalizers.NFC(), normalizers.Strip(left=False, right=True)])
    split = pre_tokenizers.Sequence([pre_tokenizers.Metaspace()])
    return unigram(special, names, "DebertaV2Tokenizer", normalizer=tidy, pre_tokenizer=split, pair=template("[CLS]", "[SEP]"))


def randomised(model, seed):
    """Return the model with random weights: wide matrices, and biases and norms that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() == 1 and name.endswith("weight"):
                weight.copy_(1 + 0.2 * noise)
            elif weight.dim() == 1:
                weight.copy_(0.2 * noise)
            else:
                wide = 0.6 if "embedding" in name else (6 if len(weight) == 1 else 1.6) / weight.shape[-1] ** 0.5
                weight.copy_(noise * wide)
    return model.eval()


def write_tokenizer(folder, tokenizer_parts, model_max_length):
    """Write a tokenizer, its class, and the names of its special tokens."""
    tokenizer, tokenizer_class, names = tokenizer_parts
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {"tokenizer_class": tokenizer_class, "model_max_length": model_max_length, "clean_up_tokenization_spaces": False}
    config |= {f"{name}_token": token for name, token in names.items()}
    if tokenizer_class == "BertTokenizer":
        config["do_lower_case"] = True
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def classic(model, tokenizer, *, model_max_length=64, dtype=torch.float32, activation=None, sharded=False):
    """Return a function that writes a checkpoint as transformers saves it."""

    def write(folder):
        size = len(tokenizer[0].get_vocab())
        assert model.config.vocab_size >= size, (model.config.vocab_size, size)
        if activation:
            model.config.sentence_transformers = {"activation_fn": activation, "version": "6.2.0"}
        model.to(dtype).save_pretrained(folder, **({"max_shard_size": "60KB"} if sharded else {}))
        write_tokenizer(folder, tokenizer, model_max_length)

    return write


def modular(config, tokenizer, *, pooling="cls", activation="torch.nn.modules.linear.Identity"):
    """Return a function that writes a checkpoint in the layout of the ettin rerankers, saved by sentence-transformers."""

    def write(folder):
        scratch = folder / "scratch"
        scratch.mkdir()
        randomised(hf.AutoModel.from_config(config), 7).save_pretrained(scratch)
        write_tokenizer(scratch, tokenizer, config.max_position_embeddings)
        hidden = config.hidden_size
        transformer = Transformer(str(scratch))
        modules = [
            transformer,
            Pooling(hidden, pooling_mode=pooling),
            randomised(Dense(hidden, hidden, bias=False, activation_function=torch.nn.GELU()), 8),
            randomised(LayerNorm(hidden), 9),
            randomised(Dense(hidden, 1, activation_function=torch.nn.Identity(), module_output_name="scores"), 10),
        ]
        from sentence_transformers.util import import_from_string

        CrossEncoder(modules=modules, activation_fn=import_from_string(activation)()).save_pretrained(str(folder))
        shutil.rmtree(scratch)

    return write


def resaved(write):
    """Return a function that writes a classic checkpoint as sentence-transformers 6 saves it, with a modules.json."""

    def write_and_save(folder):
        scratch = folder / "scratch"
        scratch.mkdir()
        write(scratch)
        CrossEncoder(str(scratch)).save_pretrained(str(folder))
        shutil.rmtree(scratch)

    return write_and_save


def exported(model, tokenizer):
    """Return a function that writes a model of a family that podium does not have, with onnx/model.onnx."""

    def write(folder):
        classic(model, tokenizer)(folder)
        (folder / "onnx").mkdir()
        ids = torch.tensor([[2, 7, 8, 9, 3, 11, 12, 3]])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        dynamic = {name: {1: torch.export.Dim("length", min=3, max=64)} for name in inputs}
        torch.onnx.export(
            model, kwargs=inputs, f=str(folder / "onnx" / "model.onnx"), dynamo=True, dynamic_shapes=dynamic,
            input_names=list(inputs), output_names=["logits"], external_data=False, verbose=False,
        )  # fmt: skip
        remove_notes(folder / "onnx" / "model.onnx")

    return write


def remove_notes(path):
    """Remove the exporter's notes about the origin of each node. They are twice as large as the model."""
    import onnx

    model = onnx.load(path)
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer, model.graph):
        del part.metadata_props[:]
    del model.graph.value_info[:]
    onnx.save(model, path)


def deberta(**changes):
    settings = {
        **SIZE, "vocab_size": 300, "max_position_embeddings": 64, "relative_attention": True, "position_buckets": 16,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "layer_norm_eps": 1e-7,
        "max_relative_positions": -1, "position_biased_input": False, "type_vocab_size": 0, "num_labels": 1,
        "pooler_hidden_act": "gelu", "pooler_dropout": 0, "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0,
    }  # fmt: skip
    return randomised(hf.DebertaV2ForSequenceClassification(hf.DebertaV2Config(**(settings | changes))), 5)


def modernbert_config(**changes):
    settings = {
        **SIZE, "vocab_size": 420, "max_position_embeddings": 160, "local_attention": 16, "num_labels": 1,
        "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3,
        "num_hidden_layers": 4, "global_attn_every_n_layers": 3,
    }  # fmt: skip
    return hf.ModernBertConfig(**(settings | changes))


def modernbert(**changes):
    return randomised(hf.ModernBertForSequenceClassification(modernbert_config(**changes)), 6)


def bert(**changes):
    settings = {**SIZE, "vocab_size": 300, "max_position_embeddings": 64, "num_labels": 1}
    return randomised(hf.BertForSequenceClassification(hf.BertConfig(**(settings | changes))), 1)


def roberta(positions=66, **changes):
    settings = {**SIZE, "vocab_size": 400, "max_position_embeddings": positions, "type_vocab_size": 1, "num_labels": 1}
    settings |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    return randomised(hf.RobertaForSequenceClassification(hf.RobertaConfig(**(settings | changes))), 3)


def bi_encoder(model, tokenizer, *, pooling="mean", normalised=True, dense=0, prompts=None, default=None, max_length=64):
    """Return a function that writes an embedder as sentence-transformers saves it."""

    def write(folder):
        scratch = folder / "scratch"
        scratch.mkdir()
        model.save_pretrained(scratch)
        write_tokenizer(scratch, tokenizer, max_length)
        hidden = getattr(model.config, "hidden_size", None) or model.config.dim
        modules = [Transformer(str(scratch)), Pooling(hidden, pooling_mode=pooling)]
        if dense:
            modules.append(randomised(Dense(hidden, dense, activation_function=torch.nn.Tanh()), 12))
        if normalised:
            modules.append(Normalize())
        embedder = SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name=default, device="cpu")
        embedder.max_seq_length = max_length
        embedder.save_pretrained(str(folder), create_model_card=False)
        shutil.rmtree(scratch)

    return write


def embedders():
    prompts = {"query": "capital of: ", "document": "", "passage": "never "}
    xlm = hf.XLMRobertaConfig(**SIZE, vocab_size=300, max_position_embeddings=66, type_vocab_size=1, pad_token_id=1)
    roberta_like = hf.RobertaConfig(
        **SIZE, vocab_size=400, max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2
    )
    distil = hf.DistilBertConfig(vocab_size=300, max_position_embeddings=64, n_layers=3, n_heads=4, dim=32, hidden_dim=64)
    electra = hf.ElectraConfig(**SIZE, vocab_size=300, embedding_size=16, max_position_embeddings=64)
    bert_like = hf.BertConfig(**SIZE, vocab_size=300, max_position_embeddings=64)
    bpe_special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    modern = modernbert_config()
    return {
        "bert-mean": bi_encoder(randomised(hf.BertModel(bert_like), 21), wordpiece(), max_length=48),
        "bert-cls-as-it-is": bi_encoder(randomised(hf.BertModel(bert_like), 22), wordpiece(), pooling="cls", normalised=False),
        "roberta-cls": bi_encoder(randomised(hf.RobertaModel(roberta_like), 23), byte_bpe(), pooling="cls"),
        "xlm-roberta-prompts": bi_encoder(randomised(hf.XLMRobertaModel(xlm), 24), xlm_unigram(), prompts=prompts),
        "distilbert-dense": bi_encoder(randomised(hf.DistilBertModel(distil), 25), wordpiece(), dense=16),
        "electra-mean": bi_encoder(randomised(hf.ElectraModel(electra), 26), wordpiece()),
        "deberta-v3-mean": bi_encoder(randomised(deberta().deberta, 27), deberta_unigram()),
        "modernbert-default-prompt": bi_encoder(
            randomised(hf.ModernBertModel(modern), 28), byte_bpe(bpe_special, roberta=False), pooling="cls", prompts=prompts,
            default="query", max_length=160,
        ),
    }  # fmt: skip


def record_vectors(folder):
    """Record the vectors of sentence-transformers for the embedder in a folder."""
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    texts = [text for pair in pairs(model.max_seq_length) for text in pair] + ["", " "]
    expected = {"max_length": model.max_seq_length, "texts": texts}
    encoded = {"embed": model.encode(texts, batch_size=1)}
    encoded["query"] = model.encode_query(texts, batch_size=1)
    encoded["document"] = model.encode_document(texts, batch_size=1)
    expected |= {name: [[float(f"{value:.7g}") for value in row] for row in rows.tolist()] for name, rows in encoded.items()}
    write_expected(folder, expected)
    print(f"{folder.name:28s} max length {model.max_seq_length:4d}  {encoded['embed'].shape}")


def rerankers():
    identity = "torch.nn.modules.linear.Identity"
    electra = hf.ElectraConfig(**SIZE, vocab_size=300, embedding_size=16, max_position_embeddings=64, num_labels=1)
    xlm = hf.XLMRobertaConfig(
        **SIZE, vocab_size=300, max_position_embeddings=66, type_vocab_size=1, num_labels=1, pad_token_id=1
    )
    distil = hf.DistilBertConfig(
        vocab_size=300, max_position_embeddings=64, n_layers=3, n_heads=4, dim=32, hidden_dim=64, num_labels=1
    )
    albert = hf.AlbertConfig(**SIZE, vocab_size=300, embedding_size=16, max_position_embeddings=64, num_labels=1)
    bpe_special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return {
        "bert": classic(bert(), wordpiece(), activation=identity),
        "bert-generic-tokenizer": classic(bert(), (wordpiece()[0], "PreTrainedTokenizerFast", wordpiece()[2])),
        "bert-float16-sharded": classic(bert(hidden_act="gelu_new"), wordpiece(), dtype=torch.float16, sharded=True),
        "bert-resaved": resaved(classic(bert(hidden_act="relu"), wordpiece())),
        "electra": classic(randomised(hf.ElectraForSequenceClassification(electra), 2), wordpiece()),
        "roberta": classic(roberta(), byte_bpe(), model_max_length=int(1e30)),
        "xlm-roberta-bfloat16": classic(
            randomised(hf.XLMRobertaForSequenceClassification(xlm), 4), xlm_unigram(), dtype=torch.bfloat16
        ),
        "distilbert": classic(randomised(hf.DistilBertForSequenceClassification(distil), 4), wordpiece()),
        "deberta-v3": classic(deberta(), deberta_unigram()),
        "deberta-v2": classic(
            deberta(share_att_key=False, norm_rel_ebd="none", conv_kernel_size=3, conv_act="gelu", position_buckets=-1,
                    position_biased_input=True, type_vocab_size=2),
            deberta_unigram(),
        ),
        "modernbert": classic(modernbert(), byte_bpe(bpe_special, roberta=False), model_max_length=160),
        "modernbert-mean": classic(
            modernbert(classifier_pooling="mean", norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True),
            byte_bpe(bpe_special, roberta=False), model_max_length=160,
        ),
        "ettin": modular(modernbert_config(), byte_bpe(bpe_special, roberta=False)),
        "ettin-mean-sigmoid": modular(
            modernbert_config(), byte_bpe(bpe_special, roberta=False), pooling="mean",
            activation="torch.nn.modules.activation.Sigmoid",
        ),
        "exported-albert": exported(randomised(hf.AlbertForSequenceClassification(albert), 11), wordpiece()),
    }  # fmt: skip


def write_late(folder):
    """Write a model of podium's own family as training/ writes it, and record the results of the model in PyTorch."""
    from export import write
    from model import Late

    scratch = folder / "scratch"
    config = hf.BertConfig(**SIZE, vocab_size=300, max_position_embeddings=64)
    randomised(hf.BertModel(config), 31).save_pretrained(scratch)
    write_tokenizer(scratch, wordpiece(), 64)
    model = Late(scratch, idf=torch.linspace(0, 2, 300))
    randomised(model.importance, 32)
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.copy_(weight.half().float())  # they are stored in float16
    write(model, folder, WEIGHTS, OFFSET, max_length=64)
    shutil.rmtree(scratch)
    record_late(folder, model)


@torch.inference_mode()
def record_late(folder, model):
    """Record the pairs with fewer than 64 tokens in both texts together, because neither of these texts is truncated."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    short_pairs, logits, lengths = [], [], []
    for pair in pairs(64):
        texts = [torch.tensor([tokenizer.encode(text).ids]) for text in pair]
        length = sum(ids.numel() for ids in texts)
        if length >= 64:
            continue
        hidden = [(ids, torch.ones(ids.shape), model.encoder(input_ids=ids).last_hidden_state) for ids in texts]
        short_pairs.append(pair)
        logits.append((model(*hidden) @ WEIGHTS).item() + OFFSET)
        lengths.append(length)
    scores = torch.sigmoid(torch.tensor(logits)).tolist()
    write_logits(folder, {"max_length": 64, "pairs": short_pairs, "lengths": lengths, "logits": logits, "scores": scores})


def pairs(max_length):
    """Return pairs of all lengths: from one word to far above the limit, with longer queries or texts. Some are unusual."""
    draw = random.Random(1)
    text = lambda n: " ".join(draw.choices(WORDS, k=n))  # noqa: E731
    sizes = [(1, 1), (1, 2), (2, 1), (3, 7), (5, 20), (8, 31), (9, 45), (20, 20), (4, 3 * max_length), (3 * max_length, 2)]
    sizes += [(max_length, max_length), (max_length, max_length + 1), (max_length // 2, max_length // 2 + 1)]
    sizes += [(draw.randint(1, 12), draw.randint(1, max_length)) for _ in range(12)]
    odd = [("!", "?"), ("naïve café", "ÀÉÎõü ß"), ("東京 tower", "Мир 😀 done"), ("[SEP] x", "a [PAD] b <pad> </s> c [CLS]")]
    return [(text(a), text(b)) for a, b in sizes] + odd


def record(folder):
    """Record the logits, scores and lengths of sentence-transformers for the model in a folder."""
    model = CrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    texts = pairs(model.max_seq_length if model.max_seq_length < 1000 else 64)
    positions = getattr(model.config, "max_position_embeddings", 64)
    if model.config.model_type in ("roberta", "xlm-roberta"):  # positions start after the padding id
        model.max_seq_length = min(model.max_seq_length, positions - model.config.pad_token_id - 1)
    logits = [model.predict([pair], activation_fn=torch.nn.Identity()).item() for pair in texts]
    scores = [model.predict([pair]).item() for pair in texts]
    lengths = [len(model.tokenizer(*pair, truncation=True)["input_ids"]) for pair in texts]
    if (folder / "onnx").exists():
        (folder / "model.safetensors").unlink()  # only the reference needs it
    expected = {"max_length": model.max_seq_length, "pairs": texts, "lengths": lengths, "logits": logits, "scores": scores}
    write_logits(folder, expected)


def write_logits(folder, expected):
    write_expected(folder, expected)
    spread = max(expected["logits"]) - min(expected["logits"])
    print(f"{folder.name:28s} max length {expected['max_length']:4d}  logits spread {spread:.2f}")
    assert spread > 0.5


def write_expected(folder, expected):
    with gzip.GzipFile(folder / "expected.json.gz", "wb", mtime=0) as file:
        file.write(json.dumps(expected, ensure_ascii=False).encode())
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 300_000


def main(names):
    for name, write in rerankers().items():
        if not names or name in names:
            record(make_folder(HERE / name, write))
    if not names or "late" in names:
        make_folder(HERE / "late", write_late)
    for name, write in embedders().items():
        if not names or name in names:
            record_vectors(make_folder(HERE / "embedders" / name, write))


def make_folder(folder, write):
    """Empty the folder, call `write` with it, and return it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(folder)
    for file in ("README.md", "training_args.bin"):
        (folder / file).unlink(missing_ok=True)
    return folder


if __name__ == "__main__":
    torch.manual_seed(0)
    main(sys.argv[1:])

"""DecoderScorer, a language model on this machine that ranks."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

from podium.errors import Argument, InvalidInput, UnsupportedModel
from podium.inputs import checked_instruction, without_none
from podium.local.autotune import Load
from podium.local.build import load, load_decoder
from podium.local.decoders.prompt_families import PROMPT_FAMILIES, PromptFamily
from podium.local.decoders.spec import DecoderSpec, read_decoder_spec
from podium.local.decoders.tokenizer import PromptTokenizer
from podium.local.families import FAMILIES
from podium.local.families.family import Family
from podium.local.files.checkpoint import Array
from podium.local.files.folder import ModelFiles
from podium.local.model import LoadedModel, Options, loading
from podium.local.runtimes import PrecisionOption, RuntimeOption
from podium.local.scorer import PairScorer
from podium.local.spec import Spec
from podium.local.tokenizer import Encoded

__all__ = ["DecoderScorer"]


class DecoderScorer(PairScorer):
    """A language model that ranks, with the prompt that it was trained with. Safe to share between threads.

    The raw score is a logit, or the difference of two logits, in double precision. It decides the order, so documents whose
    score is rounded to 1.0 are still ordered.

    - `instruction`: describes relevant documents, for models that read an instruction. By default the model's own.
    - `max_length`: how many tokens of a prompt are read. The default is that of the authors' code, and the upper limit.
    - `families`, `prompt_families`: the architectures that podium can run, and the prompts that it knows.

    The other options are those of LocalScorer. Raises ModelError, or InvalidInput for an option.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        precision: PrecisionOption | None = None,
        runtime: RuntimeOption = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        instruction: str | None = None,
        families: Sequence[Family] = FAMILIES,
        prompt_families: Sequence[PromptFamily] = PROMPT_FAMILIES,
    ) -> None:
        options = Options(precision, runtime, threads, max_length)
        self.instruction = None if instruction is None else checked_instruction(instruction)
        with loading(files):
            self._decoder_spec = read_decoder_spec(files, families, prompt_families)
            if instruction is not None and not self.reads_instructions:
                raise _without_instructions(files.name)
            self._loaded_model = LoadedModel(
                files,
                self._decoder_spec,
                options,
                load=_network(self._decoder_spec),
                tokenizer=self._prompt_tokenizer,
                output=functools.partial(_raw_score, self._decoder_spec),
                probe=("a", "b"),
            )
        width = self._loaded_model.width
        if width > 2:
            raise UnsupportedModel(f"{files.name} computes {width} numbers for a pair, not one score; it cannot rank")

    @property
    def identity(self) -> str:
        """That of ModelScorer, with a hash of the prompt and the instruction."""
        prompt = repr((self._decoder_spec.prompt, self._decoder_spec.output_rows, self.instruction))
        return f"{super().identity}:{hashlib.blake2b(prompt.encode(), digest_size=16).hexdigest()}"

    @property
    def prompt_name(self) -> str:
        """The name of the prompt, for users."""
        return self._decoder_spec.prompt.name

    @property
    def compares_tokens(self) -> bool:
        """Whether the score is read from the logits of tokens, and not from a classifier."""
        return bool(self._decoder_spec.output_rows)

    @property
    def reads_instructions(self) -> bool:
        return self._decoder_spec.prompt.instructed is not None

    def with_instruction(self, instruction: str) -> DecoderScorer:
        if not self.reads_instructions:
            raise _without_instructions(self.model)
        other = copy.copy(self)
        other.instruction = checked_instruction(instruction)
        tokenizer = self._loaded_model.tokenizer
        assert isinstance(tokenizer, PromptTokenizer)  # noqa: S101  the constructor made it
        other._loaded_model = self._loaded_model.with_tokenizer(tokenizer.with_instruction(instruction))
        return other

    def settings(self) -> dict[str, Any]:
        return super().settings() | without_none({"instruction": self.instruction})

    def _prompt_tokenizer(self, spec: Spec, max_length: int) -> PromptTokenizer:
        return PromptTokenizer(self._decoder_spec, max_length, instruction=self.instruction)


def _network(spec: DecoderSpec) -> Load:
    """Return the function that loads the network. Without causal attention, it is that of a cross-encoder."""
    return functools.partial(load_decoder, output_rows=spec.output_rows) if spec.shares_prefix else load


def _raw_score(spec: DecoderSpec, pair: tuple[str, str], tokens: Encoded, logits: Array) -> float:
    """Return the output of a pair, for LoadedModel: a logit, or that of the true token or label less that of the false one.

    The order of output rows is (true, false), and that of labels is (false, true).
    """
    if len(logits) == 1:
        return float(logits[0])
    difference = float(logits[0]) - float(logits[1])
    return difference if spec.output_rows else -difference


def _without_instructions(model: str) -> InvalidInput:
    return InvalidInput(
        Argument("instruction"), f" is for models that read one, and {model} was not trained with any; leave it out"
    )

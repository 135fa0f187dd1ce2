"""Manifest, the description of a batch job in its output folder, and the comparison with a job that is to continue it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.batch.files import InputFile, input_files
from podium.batch.options import Options
from podium.batch.parts import Part, parts_from_json, parts_to_json
from podium.errors import Argument, InvalidInput

__all__ = ["Manifest", "check_same_files", "check_same_job", "check_unchanged"]

MANIFEST_VERSION = 2  # is increased if the format of the output folder changes
SHOWN_DIFFERENCES = 10
CONTINUE = (
    "Continue with the same input and options, use another folder, or delete that output with ",
    Argument("restart"),
)
"""The remedy if a folder has the output of another job."""
FACTS = {
    "model": "the model",
    "revision": "the model's revision",
    "score_kind": "the kind of the scores",
    "precision": "the model's precision",
    "max_length": "the model's maximum length",
    "identity": "another setting of the model",
    "instruction_set": "the processor's instruction set",
    "score_version": "podium's version of the scores",
}
"""Name of a fact about a scorer → the words for it in messages."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A job: its options, the facts about its scorer, the columns of its first input file, and its parts.

    `load_options` are the options with which its model was loaded, except for secrets.
    """

    options: Options
    scorer: Mapping[str, Any]
    fields: Sequence[str]
    parts: Sequence[Part]
    load_options: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "version": MANIFEST_VERSION,
            "scorer": dict(self.scorer),
            "load_options": dict(self.load_options),
            "options": self.options.to_json(),
            "fields": list(self.fields),
            "input": parts_to_json(self.parts),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Manifest:
        """Return the manifest that `to_json` described. Raises InvalidInput if it is damaged, or of another version."""
        try:
            if values["version"] != MANIFEST_VERSION:
                raise InvalidInput(
                    "the folder has the output of another version of podium; use another folder, or ", Argument("restart")
                )
            options = Options.from_json(values["options"])
            return cls(
                options=options,
                scorer=dict(values["scorer"]),
                fields=list(values["fields"]),
                parts=parts_from_json(values["input"]),
                load_options=dict(values["load_options"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInput("the manifest of the folder is damaged; use another folder, or ", Argument("restart")) from error


def check_unchanged(file: InputFile) -> None:
    """Raise InvalidInput if a file is no longer the one that a job began to read."""
    if input_files([file.path]) != [file]:
        raise InvalidInput(
            f"{file.path} has changed while the job was running; put the earlier file back and run the job again, or ",
            Argument("restart"),
        )


def check_same_files(manifest: Manifest, files: Iterable[InputFile], *, remedy: Sequence[str | Argument] = CONTINUE) -> None:
    """Raise InvalidInput, which shows the differences, unless these are the input files of the manifest, unchanged."""
    before = {part.file.path: part.file for part in manifest.parts}
    now = {file.path: file for file in files}
    differences = [f"{path} is new" for path in now if path not in before]
    differences += [f"{path} is not an input now" for path in before if path not in now]
    differences += [f"{path} has changed" for path, file in now.items() if before.get(path, file) != file]
    if not differences and list(before) != list(now):
        differences = ["the files are in another order"]
    _refuse([(difference,) for difference in differences], remedy)


def check_same_job(
    manifest: Manifest, options: Options, scorer: Mapping[str, Any], *, remedy: Sequence[str | Argument] = CONTINUE
) -> None:
    """Raise InvalidInput, which shows the differences, unless a job has the options and the scorer of the manifest."""
    differences: list[Sequence[str | Argument]] = []
    for name, change in _changes(manifest.options.to_json(), options.to_json()):
        differences.append((Argument(name), change))
    scorer_changes = dict(_changes(manifest.scorer, scorer))
    if scorer_changes.keys() == {"identity"}:
        differences.append(("a setting of the model has changed, such as its server, its encoding or its calibration",))
    scorer_changes.pop("identity", None)  # a hash
    differences += [(f"{FACTS[name]}{change}",) for name, change in scorer_changes.items()]
    _refuse(differences, remedy)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names of values that differ, with the end of a sentence about each."""
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            yield name, f" is {_shown(now.get(name))}, and was {_shown(before.get(name))}"


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "empty"
    return (", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)) or "empty"


def _refuse(differences: Sequence[Sequence[str | Argument]], remedy: Sequence[str | Argument]) -> None:
    """Raise InvalidInput if there are differences, each of which is a part of the message."""
    if differences:
        shown = [part for difference in differences[:SHOWN_DIFFERENCES] for part in ("; ", *difference)]
        dots = "; …" if len(differences) > SHOWN_DIFFERENCES else ""
        raise InvalidInput("the folder has the output of another job: ", *shown[1:], f"{dots}. ", *remedy)

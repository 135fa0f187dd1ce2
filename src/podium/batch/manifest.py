"""Manifest, the description of a batch job in its output folder, and the comparison with a job that is to continue it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.batch.files import InputFile
from podium.batch.options import Options
from podium.batch.parts import Part, parts_from_json, parts_to_json
from podium.errors import Argument, InvalidInput

__all__ = ["Manifest", "check_same_files", "check_same_job"]

MANIFEST_VERSION = 2  # is increased if the format of the output folder changes
SHOWN_DIFFERENCES = 10


@dataclass(frozen=True, slots=True)
class Manifest:
    """A job: its options, the facts about its scorer, the columns of its first input file, and its parts."""

    options: Options
    scorer: Mapping[str, Any]
    fields: Sequence[str]
    parts: Sequence[Part]

    def to_json(self) -> dict[str, Any]:
        return {
            "version": MANIFEST_VERSION,
            "scorer": dict(self.scorer),
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
            return cls(options, dict(values["scorer"]), list(values["fields"]), parts_from_json(values["input"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInput("the manifest of the folder is damaged; use another folder, or ", Argument("restart")) from error


def check_same_files(manifest: Manifest, files: Iterable[InputFile]) -> None:
    """Raise InvalidInput, which shows the differences, unless these are the input files of the manifest, unchanged."""
    before = {part.file.path: part.file for part in manifest.parts}
    now = {file.path: file for file in files}
    differences = [f"{path} is new" for path in now if path not in before]
    differences += [f"{path} is not an input now" for path in before if path not in now]
    differences += [f"{path} has changed" for path, file in now.items() if before.get(path, file) != file]
    if not differences and list(before) != list(now):
        differences = ["the files are in another order"]
    _refuse(differences)


def check_same_job(manifest: Manifest, options: Options, scorer: Mapping[str, Any]) -> None:
    """Raise InvalidInput, which shows the differences, unless a job has the options and the scorer of the manifest."""
    before, now = manifest.options.to_json(), options.to_json()
    _refuse([*_differences(before, now), *_differences(manifest.scorer, scorer)])


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            yield f"{name} is {_shown(now.get(name))}, and was {_shown(before.get(name))}"


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "empty"
    return (", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)) or "empty"


def _refuse(differences: Sequence[str]) -> None:
    if differences:
        shown = "; ".join(differences[:SHOWN_DIFFERENCES]) + ("; …" if len(differences) > SHOWN_DIFFERENCES else "")
        raise InvalidInput(
            f"the folder has the output of another job: {shown}. Continue with the same input and options, use another folder, "
            "or delete that output with ",
            Argument("restart"),
        )

"""Models of the Hugging Face hub: from its cache where they are whole there, else downloaded, what is missing of them.

A model that is cached is used without a request. Nothing is executed and nothing is written outside the cache directory.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from podium.errors import InvalidInput, ModelError, ModelNotFound, PodiumError
from podium.local.files.checkpoint import INDEX, SINGLE
from podium.local.files.folder import DESCRIPTION_FILES, ONNX_FILES, ModelFiles, missing

__all__ = ["Cached", "cached_models", "download_plan", "from_hub", "is_hub_name"]

CacheFolder = str | os.PathLike[str] | None
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*")
DESCRIPTIONS = (*DESCRIPTION_FILES, "README.md")
HEAD_FILES = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json")
MODULE_FILES = ("*_*/config.json", "*_*/model.safetensors")


def is_hub_name(name: str) -> bool:
    """Say whether a name could be one on the hub: org/model, without what the hub itself refuses."""
    return HUB_NAME.fullmatch(name) is not None and not re.search(r"\.\.|--|[.-]/|[.-]$", name) and len(name) <= 96


def from_hub(
    name: str,
    *,
    revision: str | None = None,
    cache_dir: CacheFolder = None,
    token: str | bool | None = None,
) -> ModelFiles:
    """Return a hub model's files, from the cache if they are all there, else by downloading those that are not.

    Raises ModelNotFound: no such repository or revision, no access, no connection, or offline with files missing.
    """
    _check_options(revision, cache_dir)
    cached: ModelFiles | None = _asked(name, lambda: _cached(name, revision, cache_dir))
    whole = cached if cached and not missing(cached.folder) else None
    if whole and (_is_offline() or not _may_lack_its_head(whole, cache_dir)):
        return whole
    if _is_offline():
        lacking = missing(cached.folder) if cached else ["config.json", "tokenizer.json", SINGLE]
        raise ModelNotFound(
            f"{name} is not whole in the cache and HF_HUB_OFFLINE is set. Missing: {', '.join(lacking)}. On a machine with a "
            f"network run `hf download {name}` and copy its cache folder here, or name a folder with these files"
        )
    try:
        return _downloaded(name, revision, cache_dir, token)
    except ModelError:
        if whole:  # nobody can say whether more belongs to it; it is what there is
            return whole
        raise


def download_plan(name: str, *, revision: str | None = None, token: str | bool | None = None) -> dict[str, int]:
    """Return the files of a hub repository that would be downloaded, and their sizes in bytes. Asks the hub."""
    info = _asked(name, lambda: _api().model_info(name, revision=revision, files_metadata=True, token=token))
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or []}
    return {file: sizes[file] for file in _wanted(list(sizes))}


@dataclass(frozen=True, slots=True)
class Cached:
    """A hub model in the cache that has all the files podium needs."""

    name: str
    revision: str
    folder: Path


def cached_models(cache_dir: CacheFolder = None) -> list[Cached]:
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = scan_cache_dir(_path(cache_dir)).repos
    except (CacheNotFound, ValueError):  # no such folder, or a file in its place
        return []
    return [
        Cached(repo.repo_id, revision.commit_hash, revision.snapshot_path)
        for repo in sorted(repos, key=lambda repo: repo.repo_id)
        for revision in sorted(repo.revisions, key=lambda revision: revision.commit_hash)
        if repo.repo_type == "model" and not missing(revision.snapshot_path)
    ]


def _downloaded(name: str, revision: str | None, cache_dir: CacheFolder, token: str | bool | None) -> ModelFiles:
    from huggingface_hub import hf_hub_download

    info = _asked(name, lambda: _api().model_info(name, revision=revision, token=token))
    wanted = _wanted([each.rfilename for each in info.siblings or []])
    if "config.json" not in wanted:
        raise ModelNotFound(f"{name} has no config.json on the hub; it is not a model podium can read")
    if not info.sha:
        raise ModelError(f"the hub says no commit for {name}; try again later, or name a revision")
    for file in wanted:
        bring = functools.partial(hf_hub_download, name, file, revision=info.sha, cache_dir=_path(cache_dir), token=token)
        path = _asked(name, bring)
        if file == "config.json":
            folder = Path(path).parent
            _remember(folder, revision or "main", info.sha)  # now, so that a download cut short is found again
    _mark_absent(folder, set(HEAD_FILES) - set(wanted))
    return ModelFiles(name, folder, info.sha)


def _remember(folder: Path, revision: str, commit: str) -> None:
    """Write which commit a branch or tag was, as the hub's own client does when it downloads by that name."""
    if revision == commit:
        return
    ref = folder.parents[1] / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit, encoding="utf-8")


def _mark_absent(folder: Path, names: set[str]) -> None:
    """Write down that the repository has no such files, as the hub's own client does, so that nobody asks again."""
    marks = folder.parents[1] / ".no_exist" / folder.name
    for name in names:
        marks.mkdir(parents=True, exist_ok=True)
        (marks / name).touch()


def _may_lack_its_head(cached: ModelFiles, cache_dir: CacheFolder) -> bool:
    """Say whether other programs may have cached an encoder without the files that say what stands on it.

    A checkpoint of a whole classifier needs none. An encoder alone must have its modules.json and what goes with it, or
    it must be known that the repository has no such file.
    """
    from huggingface_hub import try_to_load_from_cache

    try:
        named = json.loads((cached.folder / "config.json").read_text(encoding="utf-8")).get("architectures")
    except (OSError, ValueError, AttributeError):
        return False
    if str(named).find("ForSequenceClassification") >= 0 and not (cached.folder / "modules.json").exists():
        return False
    return any(try_to_load_from_cache(cached.name, name, _path(cache_dir), cached.revision) is None for name in HEAD_FILES)


def _wanted(listed: list[str]) -> list[str]:
    """Choose the files to bring: descriptions, module heads, and one kind of weights, float ones before an ONNX file.

    The weights come last: once they are there, everything is.
    """
    chosen = [file for file in listed if file in DESCRIPTIONS or any(fnmatch(file, each) for each in MODULE_FILES)]
    if SINGLE in listed:
        return [*chosen, SINGLE]
    if INDEX in listed:
        return [*chosen, INDEX, *(file for file in listed if fnmatch(file, "model-*-of-*.safetensors"))]
    return chosen + [file for file in listed if file in ONNX_FILES]


def _cached(name: str, revision: str | None, cache_dir: CacheFolder) -> ModelFiles | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", cache_dir=_path(cache_dir), revision=revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    return ModelFiles(name, folder, folder.name)


def _check_options(revision: Any, cache_dir: Any) -> None:
    if revision is not None and (not isinstance(revision, str) or not REVISION.fullmatch(revision) or ".." in revision):
        raise InvalidInput("revision must be the name of a branch or tag, or a commit")
    if cache_dir is not None and not isinstance(cache_dir, str | os.PathLike):
        raise InvalidInput(f"cache_dir must be a path, not a {type(cache_dir).__name__}")


def _path(cache_dir: CacheFolder) -> str | None:
    return None if cache_dir is None else os.fspath(cache_dir)


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(library_name="podium")


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _asked(name: str, call: Callable[[], Any]) -> Any:
    """Make one request to the hub; whatever goes wrong becomes an error that says what to do."""
    from huggingface_hub import errors

    try:
        return call()
    except PodiumError:
        raise
    except errors.HFValidationError as error:
        raise ModelNotFound(f"{name[:100]} is no name that a model on the hub can have") from error
    except errors.GatedRepoError as error:
        raise ModelNotFound(f"{name} is gated; accept its terms on the hub and pass token=… or set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFound(f"{name} has no such revision; check revision=…") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"there is no model {name} on the hub, or it is private; check the name, or pass token=…"
        ) from error
    except OSError as error:  # a full disk, no permission, no connection: requests' and httpx's errors alike end here
        raise ModelError(
            f"{name} could not be downloaded ({type(error).__name__}); check the connection and the disk"
        ) from error
    except Exception as error:  # the hub's client lets its HTTP library's errors through, and that library changes
        raise ModelError(
            f"{name} could not be brought from the hub ({type(error).__name__}); check the connection, or bring its files "
            "by hand and name their folder"
        ) from error

"""Models of the Hugging Face hub, whose files are in the cache of the hub's client.

A model that is complete in the cache is used without a request. Otherwise the missing files are downloaded. No code of a model
is executed. A reply of the hub whose commit or ETag is a path is refused, because the hub's client would write to that path.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from podium.errors import Argument, InvalidInput, ModelError, ModelNotFound, PodiumError
from podium.json_values import load_json
from podium.local.files.checkpoint import INDEX_FILE, WEIGHTS_FILE
from podium.local.files.folder import (
    CHAT_TEMPLATE,
    DESCRIPTION_FILES,
    ONNX_FILES,
    STANFORD_ARCHITECTURE,
    STANFORD_METADATA,
    ModelFiles,
    missing_files,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

__all__ = ["CachedModel", "cached_models", "download_plan", "from_hub", "is_hub_name"]

Reply = TypeVar("Reply")

CacheFolder = str | os.PathLike[str] | None
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
ETAG = re.compile(r"\w[\w.=+-]*")
REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*")  # the name of a branch or tag, or a commit
DOWNLOADED_DESCRIPTIONS = (*DESCRIPTION_FILES, "README.md")  # with HEAD_FILES, STANFORD_METADATA and CHAT_TEMPLATE
# The files that describe the layers after the encoder.
HEAD_FILES = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json")
MODULE_FILES = ("*_*/config.json", "*_*/model.safetensors", "*_Transformer/*.json")  # in folders such as 1_Pooling
SHARD_PATTERN = "model-*-of-*.safetensors"  # matches the weight files if the weights are split into several


def is_hub_name(name: str) -> bool:
    """Whether a hub model can have this name: org/model, by the rules of the hub."""
    return HUB_NAME.fullmatch(name) is not None and not re.search(r"\.\.|--|[.-]/|[.-]$", name) and len(name) <= 96


def from_hub(
    name: str, *, revision: str | None = None, cache_dir: CacheFolder = None, token: str | bool | None = None
) -> ModelFiles:
    """Return the files of a hub model, from the cache if they are complete, else after downloading the missing files.

    Raises ModelNotFound if the model or revision does not exist, is not accessible, or is incomplete while offline; ModelError
    if the download fails; InvalidInput if an option or HF_ENDPOINT is not valid.
    """
    _check_options(revision, cache_dir)
    _check_endpoint()
    cached = _with_own_errors(name, lambda: _cached_files(name, revision, cache_dir))
    missing = missing_files(cached.folder) if cached else ["config.json", "tokenizer.json", WEIGHTS_FILE]
    complete_files = None if missing else cached
    if complete_files and (_is_offline() or not _may_lack_head_files(complete_files, cache_dir)):
        return complete_files
    if _is_offline():
        raise ModelNotFound(
            f"{name} is incomplete in the cache and HF_HUB_OFFLINE is set. Missing: {', '.join(missing)}. On a machine with "
            f"a network run `hf download {name}` and copy its cache folder here, or pass the path of a folder with these files"
        )
    try:
        return _download(name, revision, cache_dir, token)
    except ModelError:
        if complete_files:  # Only the head's files are missing, and perhaps the model has none.
            return complete_files
        raise


def download_plan(name: str, *, revision: str | None = None, token: str | bool | None = None) -> dict[str, int]:
    """Return the files of a hub model that podium downloads, with their sizes in bytes. Sends a request to the hub."""
    _check_endpoint()
    info = _model_info(name, revision, token, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    return {file: sizes[file] for file in _needed_files(list(sizes))}


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A hub model that is complete in the cache. `revision` is the hash of its commit."""

    name: str
    revision: str
    folder: Path


def cached_models(cache_dir: CacheFolder = None) -> list[CachedModel]:
    """Return the complete models in the cache, sorted by name and then by revision. A model may have several revisions.

    Raises ModelError if the cache cannot be read.
    """
    _check_endpoint()
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repositories = scan_cache_dir(_path(cache_dir)).repos
    except (CacheNotFound, ValueError):  # The folder does not exist, or is a file.
        return []
    except OSError as error:
        raise ModelError(
            f"the hub's cache cannot be read ({error.strerror}: {error.filename}); name another folder with ",
            Argument("cache_dir"),
        ) from error
    return [
        CachedModel(repository.repo_id, revision.commit_hash, revision.snapshot_path)
        for repository in sorted(repositories, key=lambda repository: repository.repo_id)
        for revision in sorted(repository.revisions, key=lambda revision: revision.commit_hash)
        if repository.repo_type == "model" and not missing_files(revision.snapshot_path)
    ]


def _download(name: str, revision: str | None, cache_dir: CacheFolder, token: str | bool | None) -> ModelFiles:
    """Download the files that are not in the cache yet, and return all files."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    info = _model_info(name, revision, token)
    files = _needed_files([file.rfilename for file in info.siblings or []])
    if "config.json" not in files:
        raise ModelNotFound(f"{name} has no config.json on the hub, so podium cannot read it; name another model")
    commit = info.sha
    if not commit or not COMMIT.fullmatch(commit):
        raise ModelError(f"the hub did not name a commit of {name}; try again later, and check HF_ENDPOINT if it is set")
    for file in files:
        if not isinstance(try_to_load_from_cache(name, file, _path(cache_dir), commit), str):
            _check_file_reply(name, file, commit, token)
        download = functools.partial(hf_hub_download, name, file, revision=commit, cache_dir=_path(cache_dir), token=token)
        path = Path(_with_own_errors(name, download))
        if file == "config.json":
            folder = path.parent
            # Written before the weights, so that the next call finds this folder if the download is interrupted.
            _write_reference(folder, revision or "main", commit)
    _mark_absent(folder, {*HEAD_FILES, STANFORD_METADATA, CHAT_TEMPLATE} - set(files))
    return ModelFiles(name, folder, commit)


def _model_info(name: str, revision: str | None, token: str | bool | None, *, files_metadata: bool = False) -> ModelInfo:
    """Return the hub's description of a model, with the names of its files."""
    info = functools.partial(_api().model_info, revision=revision, token=token, timeout=_timeout())
    return _with_own_errors(name, lambda: info(name, files_metadata=files_metadata))


def _check_file_reply(name: str, file: str, commit: str, token: str | bool | None) -> None:
    """Raise ModelError if the ETag or commit that the hub replies for a file is not one. The client uses both as file names."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(name, file, revision=commit)
    reply = _with_own_errors(name, lambda: get_hf_file_metadata(url, token=token, timeout=_timeout()))
    if reply.etag is None or reply.commit_hash is None:
        return  # the client does not download such a file
    if not ETAG.fullmatch(reply.etag) or not COMMIT.fullmatch(reply.commit_hash):
        raise ModelError(f"the hub's reply for {file} of {name} has an invalid ETag or commit; check HF_ENDPOINT if it is set")


def _write_reference(folder: Path, revision: str, commit: str) -> None:
    """Store the commit of a branch or tag in the cache, as the hub's client does if it downloads by that name."""
    if revision == commit:
        return
    reference = folder.parents[1] / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(commit, encoding="utf-8")


def _mark_absent(folder: Path, names: set[str]) -> None:
    """Mark files that the repository does not have, as the hub's client does, so that they are not requested again."""
    marker_folder = folder.parents[1] / ".no_exist" / folder.name
    for name in names:
        marker_folder.mkdir(parents=True, exist_ok=True)
        (marker_folder / name).touch()


def _may_lack_head_files(cached: ModelFiles, cache_dir: CacheFolder) -> bool:
    """Whether the cache may lack files about the layers after the encoder that the repository has.

    Another program may have downloaded only the encoder. False for a classifier without modules.json, which needs no such
    files, and if config.json cannot be read. Otherwise True if such a file is neither in the cache nor marked there as absent
    from the repository.
    """
    from huggingface_hub import try_to_load_from_cache

    try:
        config = load_json(cached.folder / "config.json")
        architectures = str(config.get("architectures"))
    except (OSError, ValueError, AttributeError):
        return False
    if "ForSequenceClassification" in architectures and not (cached.folder / "modules.json").exists():
        return False
    names = (*HEAD_FILES, STANFORD_METADATA) if STANFORD_ARCHITECTURE in architectures else HEAD_FILES
    if "ForCausalLM" in architectures:
        names = (*names, CHAT_TEMPLATE)
    return any(try_to_load_from_cache(cached.name, name, _path(cache_dir), cached.revision) is None for name in names)


def _needed_files(files: Sequence[str]) -> list[str]:
    """Return those of a repository's files that podium needs: descriptions, modules, and the weights.

    The weights are safetensors, or ONNX if there are no safetensors. They come last, so that a folder that has the weights
    also has everything else.
    """
    needed = [
        file for file in files if file in DOWNLOADED_DESCRIPTIONS or any(fnmatch(file, pattern) for pattern in MODULE_FILES)
    ]
    if WEIGHTS_FILE in files:
        return [*needed, WEIGHTS_FILE]
    if INDEX_FILE in files:
        return [*needed, INDEX_FILE, *(file for file in files if fnmatch(file, SHARD_PATTERN))]
    return needed + [file for file in files if file in ONNX_FILES]


def _cached_files(name: str, revision: str | None, cache_dir: CacheFolder) -> ModelFiles | None:
    """Return the files in the cache, which may be incomplete, or None if config.json is not among them."""
    from huggingface_hub import try_to_load_from_cache

    config_path = try_to_load_from_cache(name, "config.json", cache_dir=_path(cache_dir), revision=revision)
    if not isinstance(config_path, str):
        return None
    folder = Path(config_path).parent
    return ModelFiles(name, folder, folder.name)


def _check_options(revision: Any, cache_dir: Any) -> None:
    if revision is not None and (not isinstance(revision, str) or not REVISION.fullmatch(revision) or ".." in revision):
        raise InvalidInput("revision must be the name of a branch or tag, or a commit")
    if cache_dir is not None and not isinstance(cache_dir, str | os.PathLike):
        raise InvalidInput(f"cache_dir must be a path, not a {type(cache_dir).__name__}")


def _check_endpoint() -> None:
    """Raise InvalidInput if the hub's client cannot be imported because HF_ENDPOINT is not a valid URL."""
    try:
        importlib.import_module("huggingface_hub.constants")
    except ValueError:
        raise InvalidInput("the environment variable HF_ENDPOINT is not a valid URL; unset it, or write https://host") from None


def _path(cache_dir: CacheFolder) -> str | None:
    return None if cache_dir is None else os.fspath(cache_dir)


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(library_name="podium")


def _timeout() -> int:
    """Return for how many seconds to wait for the hub (HF_HUB_ETAG_TIMEOUT). By default its client waits without a limit."""
    from huggingface_hub import constants

    return constants.HF_HUB_ETAG_TIMEOUT


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _with_own_errors(name: str, call: Callable[[], Reply]) -> Reply:
    """Return the result of a call to the hub's client. Errors of the client become ModelErrors with a remedy."""
    from huggingface_hub import errors

    try:
        return call()
    except PodiumError:
        raise
    except errors.HFValidationError as error:
        raise ModelNotFound(f"{name[:100]} cannot be the name of a model on the hub; a name is org/model") from error
    except errors.GatedRepoError as error:
        raise ModelNotFound(f"{name} is gated; accept its terms on the hub and set HF_TOKEN, or pass token=…") from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFound(f"{name} has no such revision on the hub; check its name") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"there is no model {name} on the hub, or it is private; check the name, or set HF_TOKEN"
        ) from error
    except OSError as error:  # a full disk, no connection, or an error of requests, which the client used before httpx
        raise ModelError(
            f"{name} could not be downloaded ({type(error).__name__}); check the connection, the disk, and HF_ENDPOINT if it "
            "is set"
        ) from error
    except Exception as error:  # such as an error of httpx, which is not an OSError
        raise ModelError(
            f"{name} could not be downloaded ({type(error).__name__}); check the connection, and HF_ENDPOINT if it is set, or "
            "download its files yourself and pass the path of their folder"
        ) from error

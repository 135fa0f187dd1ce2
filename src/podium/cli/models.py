"""podium models: the models on this machine, recommended models on the Hugging Face hub, and the hosted APIs."""

from __future__ import annotations

from pathlib import Path

import click

from podium.bundled import BUNDLED, folder_of
from podium.cli.tables import print_rows
from podium.hosted.providers import PROVIDERS
from podium.local.files.distributions import installed_models
from podium.local.files.hub import cached_models
from podium.local.known_models import KNOWN_MODELS, KnownModel, licence_of

__all__ = ["models"]


@click.command()
@click.option("--cache-dir", metavar="FOLDER", help="Folder of the Hugging Face hub's cache.  [default: its usual folder]")
def models(cache_dir: str | None) -> None:
    """List models and hosted APIs.

    First come the bundled model, models in installed packages and those in the hub's cache, then recommended models, then
    hosted APIs with the environment variables of their keys.
    """
    cached = cached_models(cache_dir)
    on_this_machine = [(name, f"bundled, {version}", folder_of(name)) for name, version in BUNDLED.items()]
    on_this_machine += [(model.name, f"installed, {model.revision}", model.folder) for model in installed_models()]
    on_this_machine += [(model.name, f"cached, {model.revision[:8]}", model.folder) for model in cached]
    print_rows(
        ("on this machine", "where", "licence", "size"),
        [(name, where, licence_of(folder) or "unknown", _folder_size(folder)) for name, where, folder in on_this_machine],
    )
    print()
    cached_names = {model.name for model in cached}
    print_rows(
        ("on the hub", "licence", "params", "tokens", "good for"),
        [_description(row) for row in KNOWN_MODELS if row.prompt is None and row.name not in cached_names],
    )
    print()
    print_rows(
        ("language models", "licence", "params", "tokens", "good for"),
        [_description(row) for row in KNOWN_MODELS if row.prompt is not None and row.name not in cached_names],
    )
    print("Other models of these families can be used, too: org/model, ./folder.\n")
    print_rows(
        ("hosted", "by", "API key from"),
        [(f"{row.name}:<model>", row.title, row.key_variable or "(none needed)") for row in PROVIDERS],
    )


def _description(row: KnownModel) -> tuple[str, ...]:
    return row.name, row.licence, row.parameters, str(row.max_length), row.good_for


def _folder_size(folder: Path) -> str:
    return f"{sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:.0f} MB"

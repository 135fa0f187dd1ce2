"""podium models: the names that podium knows, and what of them is on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from podium.bundled import BUNDLED, folder_of
from podium.cli.tables import print_rows
from podium.hosted.providers import PROVIDERS
from podium.local.files.hub import cached_models
from podium.local.known_models import KNOWN, licence_of

__all__ = ["models"]


@click.command()
@click.option("--cache-dir", metavar="FOLDER", help="The hub's cache, where it is not in its usual place.")
def models(cache_dir: str | None) -> None:
    """List models and hosted APIs.

    What is bundled, what is in the hub's cache, others that are good to know, and the APIs with their keys.
    """
    cached = cached_models(cache_dir)
    here = [(name, f"bundled, {version}", folder_of(name)) for name, version in BUNDLED.items()]
    here += [(found.name, f"cached, {found.revision[:8]}", found.folder) for found in cached]
    print_rows(("on this machine", "where", "licence", "size"), [(*row[:2], _licence(row[2]), _size(row[2])) for row in here])
    print()
    names = {found.name for found in cached}
    others = [(row.name, row.licence, f"{row.millions}M", row.good_for) for row in KNOWN if row.name not in names]
    print_rows(("on the hub", "licence", "params", "good for"), others)
    print("Any other cross-encoder of the same families works too: org/model, or ./folder.\n")
    print_rows(
        ("hosted", "by", "API key from"),
        [(f"{row.name}:<model>", row.title, row.key_variable or "(none needed)") for row in PROVIDERS],
    )


def _licence(folder: Path) -> str:
    return licence_of(folder) or "not said"


def _size(folder: Path) -> str:
    return f"{sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:.0f} MB"

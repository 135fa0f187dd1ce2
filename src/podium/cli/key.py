"""podium key: make an API key for podium serve."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["key"]


@click.command()
@click.argument("name")
@click.option(
    "--file", "path", required=True, type=click.Path(path_type=Path), help="What --api-keys-file names; made if need be."
)
def key(name: str, path: Path) -> None:
    """Make a key for NAME and print it, this once: the file has only its hash.

    A running server knows it at once, and forgets it when its line is deleted.
    """
    from podium.server.http.keys import add_key

    print(add_key(path, name))

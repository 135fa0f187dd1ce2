"""podium key: create an API key for podium serve."""

from __future__ import annotations

from pathlib import Path

import click

from podium.errors import PodiumError

__all__ = ["key"]


@click.command()
@click.argument("name")
@click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(path_type=Path),
    help="File for --api-keys-file, created if it does not exist.",
)
def key(name: str, path: Path) -> None:
    """Create a key for NAME and print it. It cannot be printed again, because the file contains only its hash.

    A running server accepts the key at once. To revoke the key, delete its line from the file.
    """
    from podium.server.http.keys import add_key

    new_key = add_key(path, name)
    try:
        print(new_key, flush=True)
    except OSError as error:
        raise PodiumError(
            f"the key could not be printed, so nobody can use it; delete the line of {name} from {path}, and create it again"
        ) from error

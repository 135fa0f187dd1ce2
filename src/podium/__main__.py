"""The `podium` command, also run by `python -m podium`."""

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line. An interrupt prints one line, even while modules are being imported."""
    try:
        from podium.cli import main as run

        run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second interrupt ends the process at once
        sys.stderr.write("podium: interrupted\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()

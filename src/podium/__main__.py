"""The `podium` command, also as `python -m podium`."""

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line. An interrupt ends it with one line, also while its modules are being imported."""
    try:
        from podium.cli import main as run

        run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # another one ends the process at once, without a traceback
        sys.stderr.write("podium: interrupted\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()

"""The program `jepa`: `jepa_tools.cli`, and Ctrl-C while that is imported."""

import sys

from jepa_common.importing import ending_at_once_when_interrupted


def main() -> int:
    """Runs `jepa` with the process's arguments and returns the exit code."""
    with ending_at_once_when_interrupted("jepa"):
        from jepa_tools import cli
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())

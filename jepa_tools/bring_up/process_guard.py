"""Ends processes whose runner died without doing so itself (kill -9, out of memory).

Runs beside a process runner and reads its standard input: a line `+ID` names a process group to watch, `-ID`
one that has ended. When the input ends, the runner is gone, and the groups still named are ended. Uses the
standard library only and starts in a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

# Nodes get time to stop the arm and to close their files; those that are stuck are not asked twice.
ESCALATION = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 0.0))


def signal_group(group: int, number: int) -> bool:
    """Sends a signal to a process group; false when no process is left in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def remaining_groups(lines: Iterable[str]) -> set[int]:
    """The groups that were named and did not end, after the last line."""
    groups: set[int] = set()
    for line in lines:
        change, group = line[:1], int(line[1:])
        (groups.add if change == "+" else groups.discard)(group)
    return groups


def end_groups(groups: set[int]) -> None:
    """Ends the groups: SIGINT, then SIGTERM, then SIGKILL, each after some seconds for the one before."""
    for number, seconds in ESCALATION:
        groups = {group for group in groups if signal_group(group, number)}
        deadline = time.monotonic() + seconds
        while groups and time.monotonic() < deadline:
            time.sleep(0.05)
            groups = {group for group in groups if signal_group(group, 0)}


def main() -> None:
    """Watches until the input ends; keyboard interrupts are for the runner."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_groups(remaining_groups(sys.stdin))


if __name__ == "__main__":
    main()

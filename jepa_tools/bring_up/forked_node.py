"""Starts a node from the fork server and stands in for it.

`python -m jepa_tools.bring_up.forked_node MODULE [ARGUMENT...]` is its command line. Signals to this process reach the
node, this process ends when the node does and with its exit code, and a node whose
stand-in was killed ends at once. Where there is no fork server, the node runs in this process, as without this module.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from jepa_tools.bring_up.fork_server import ADDRESS_VARIABLE, NodeOrder, run_main, send_order, socket_name

CONNECT_SECONDS = 2.0
RETRY_SECONDS = 0.02
EXIT_KILLED = 1
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StandIn:
    """A process that a node's signals, output and end go through. Threads: the main one."""

    def __init__(self, connection: socket.socket) -> None:
        """Forwards signals from now on."""
        self._connection = connection
        self._node = 0
        for number in FORWARDED:
            signal.signal(number, self._forward)

    def run(self, order: NodeOrder) -> int | None:
        """Orders a node and waits for its end; its exit code, or None when the fork server is gone before it began."""
        try:
            send_order(self._connection, order)
        except OSError:
            return None
        head = self._receive(4)
        if head is None:
            return None
        (self._node,) = struct.unpack("!I", head)
        end = self._receive(1)
        if end is None:
            print(f"{order.module}: the process {self._node} was killed", file=sys.stderr)
            return EXIT_KILLED
        return int(end[0])

    def _receive(self, size: int) -> bytes | None:
        """Exactly `size` bytes, or None when the other side is gone."""
        try:
            data = self._connection.recv(size, socket.MSG_WAITALL)
        except ConnectionResetError:
            return None
        return data if len(data) == size else None

    def _forward(self, number: int, _: FrameType | None) -> None:
        if not self._node:
            sys.exit(128 + number)  # the fork server will find nobody to start a node for
        with contextlib.suppress(ProcessLookupError):  # it has just ended, which is what most signals want
            os.kill(self._node, number)


def _connect(address: str) -> socket.socket | None:
    """A connection to the fork server; None when nobody listens there even after a while: it may be starting."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(socket_name(address))
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                return None
            time.sleep(RETRY_SECONDS)
        else:
            return connection


def start(module: str, arguments: Sequence[str]) -> int:
    """Runs a node to its end and returns its exit code."""
    address = os.environ.get(ADDRESS_VARIABLE, "")
    connection = _connect(address) if address else None
    if connection is not None:
        before = {number: signal.getsignal(number) for number in FORWARDED}
        code = StandIn(connection).run(NodeOrder(module, tuple(arguments), dict(os.environ), str(Path.cwd())))
        if code is not None:
            return code
        for number, handler in before.items():
            signal.signal(number, handler)
    sys.argv = [module, *arguments]
    return run_main(module)


def main() -> int:
    """The command line: a module, then the node's arguments."""
    if len(sys.argv) < 2:
        print("forked_node: expected a module and the node's arguments", file=sys.stderr)
        return 2
    return start(sys.argv[1], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

"""A process that has loaded the nodes' libraries and forks a node whenever one is asked for.

Importing torch takes longer than everything else that a node does until it is active, so a node that was killed would
be away for many seconds, and three nodes at once would load it three times. The fork server loads it once. It never
touches ROS or a GPU itself and has one thread, so that its forks are as good as fresh processes.

`python -m jepa_tools.bring_up.forked_node MODULE ...` asks for a node and stands in for it, as a process that can be
signalled, killed and waited for: see there. Both sides are Linux only.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NoReturn, cast

ADDRESS_VARIABLE = "JEPA_FORK_SERVER"
"""Environment variable with the fork server's address, for those who ask for nodes."""

MAX_ORDER_BYTES = 1 << 20
STANDARD_FILES = 3
KILLED = 137
"""Exit code of a node whose stand-in is gone, as a shell reports a process that was killed."""


@dataclass(frozen=True)
class NodeOrder:
    """What a node is started with.

    Attributes:
        module: has a function `main` without arguments that returns the exit code.
        arguments: the command line after the program.
        environment: the whole environment.
        folder: the working directory.
    """

    module: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    folder: str


def new_address(label: str) -> str:
    """An address that no other process uses, for the fork server of this process that `label` names."""
    return f"jepa_ros_fork_server_{os.getuid()}_{os.getpid()}_{label}"


def socket_name(address: str) -> str:
    """The name of the socket: in Linux's abstract namespace, so that no file is left behind."""
    return f"\0{address}"


def send_order(connection: socket.socket, order: NodeOrder) -> None:
    """Sends an order together with this process's standard input, output and error."""
    text = json.dumps(asdict(order)).encode()
    if len(text) > MAX_ORDER_BYTES:
        raise ValueError(f"expected an order of at most {MAX_ORDER_BYTES} bytes, got {len(text)}: a huge environment?")
    socket.send_fds(connection, [struct.pack("!I", len(text))], list(range(STANDARD_FILES)))
    connection.sendall(text)


def receive_order(connection: socket.socket) -> tuple[NodeOrder, list[int]]:
    """An order and the sender's standard files.

    Raises:
        ValueError: it is incomplete, or from another user.
    """
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    user = struct.unpack("3i", credentials)[1]
    if user != os.getuid():
        raise ValueError(f"expected orders of the user {os.getuid()}, got one of {user}")
    head, files, _, _ = socket.recv_fds(connection, 4, STANDARD_FILES)
    if len(head) != 4 or len(files) != STANDARD_FILES:
        _close(files)
        raise ValueError("expected an order with three files, the connection ended before")
    (length,) = struct.unpack("!I", head)
    with connection.makefile("rb") as stream:
        text = stream.read(min(length, MAX_ORDER_BYTES))
    if len(text) != length:
        _close(files)
        raise ValueError(f"expected an order of {length} bytes, got {len(text)}")
    values = json.loads(text)
    return NodeOrder(**values | {"arguments": tuple(values["arguments"])}), files


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)


def serve(address: str, modules: Sequence[str]) -> NoReturn:
    """Loads `modules`, then forks a node for every order, until it is told to end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        # Listening before loading: those who come early wait instead of loading everything themselves.
        listener.bind(socket_name(address))
        listener.listen()
        for module in modules:
            importlib.import_module(module)
        gc.collect()
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks: their stand-ins do
        while True:
            connection, _ = listener.accept()
            _fork_node(listener, connection)


def _fork_node(listener: socket.socket, connection: socket.socket) -> None:
    """Starts the node that `connection` asks for."""
    with connection:
        try:
            order, files = receive_order(connection)
        except (OSError, ValueError) as error:
            print(f"fork server: no node was started: {error}", file=sys.stderr)
            return
        if os.fork() == 0:
            listener.close()
            os._exit(_run_node(order, files, connection))
        _close(files)


def _run_node(order: NodeOrder, files: Sequence[int], connection: socket.socket) -> int:
    """Runs the node in this process; the stand-in learns its process id first and its exit code last."""
    _take_over(order, files)
    try:
        connection.sendall(struct.pack("!I", os.getpid()))
        threading.Thread(target=_end_with_stand_in, args=[connection], name="stand-in", daemon=True).start()
        code = run_main(order.module)
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(struct.pack("!B", code & 0xFF))
    except BrokenPipeError:
        return KILLED
    return code


def _take_over(order: NodeOrder, files: Sequence[int]) -> None:
    """Makes this process what the order says, as if it had been started so."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, file in enumerate(files):
        os.dup2(file, target)
    _close(files)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    sys.argv = [order.module, *order.arguments]
    # A text file, as in every process.
    cast("io.TextIOWrapper", sys.stdout).reconfigure(line_buffering=True)


def _end_with_stand_in(connection: socket.socket) -> None:
    """Ends this process at once when its stand-in is gone: who killed that one meant this one."""
    if not connection.recv(1):
        os._exit(KILLED)


def run_main(module: str) -> int:
    """Runs the function `main` of a module and returns the exit code; errors are printed, as Python does at its end."""
    try:
        return int(importlib.import_module(module).main() or 0)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:  # noqa: BLE001 - what Python itself does with an error that nobody caught
        traceback.print_exc()
        return 1


def main() -> int:
    """`python -m jepa_tools.bring_up.fork_server ADDRESS MODULE...`."""
    try:
        serve(sys.argv[1], sys.argv[2:])
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())

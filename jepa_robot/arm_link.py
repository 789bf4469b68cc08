"""How the node and the process with the control loop talk: JSON over a socket pair that keeps messages apart.

Neither waits for the other: what does not fit is dropped by the sender, and the receiver is told when the other ended,
however it did.
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

LARGEST = 160_000
"""Bytes of a message at most; Linux gives such a pair 208 KiB unless told otherwise."""

Message = dict[str, Any]


class LinkClosedError(ConnectionError):
    """The process at the other end is gone."""


class Link:
    """One end. Sending and receiving may be done by two threads."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Link, socket.socket]:
        """A link, and the socket for a child process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    def send(self, **message: Any) -> bool:
        """Sends without waiting; returns whether it was taken. Raises LinkClosedError."""
        data = json.dumps(message).encode()
        if len(data) > LARGEST:
            return False
        try:
            self._end.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError as error:
            raise LinkClosedError("the other process is gone") from error
        return True

    def receive(self, wait: bool = False) -> Message | None:
        """The next message; None if there is none and it is not waited for. Raises LinkClosedError."""
        try:
            data = self._end.recv(2 * LARGEST, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            raise LinkClosedError("the other process is gone") from error
        if not data:
            raise LinkClosedError("the other process is gone")
        message: Message = json.loads(data)
        return message

    def close(self) -> None:
        """Ends the connection; a thread that waits in `receive` gets a LinkClosedError."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()

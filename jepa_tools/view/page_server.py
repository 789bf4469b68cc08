"""Serves the page and, over a WebSocket, what is on the board; takes orders from viewers that know the token.

A page of another site may open a WebSocket to any address, this machine's own included, and may give a name of its
own to it. So a WebSocket is only opened for the page that came from here, and a server of this machine's own address
answers to that address alone.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import resources
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from jepa_tools.view.board import Board, as_json

LIVE = "/live"
_MOST_VIEWERS = 16
_LARGEST_MESSAGE = 1 << 24  # a goal picture
_SEND_SECONDS = 0.05
_WRONG_TOKEN_SECONDS = 1.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Orders(Protocol):
    """What viewers may have done. Methods return at once; futures hold a text for people, or a reason as exception."""

    def order(self, name: str) -> Future[str]:
        """One of the planner's services."""

    def pursue_frame(self, number: int) -> Future[str]:
        """Makes a picture that the camera showed the goal."""

    def pursue_file(self, data: bytes) -> Future[str]:
        """Makes a picture file the goal."""

    def pursue_offered(self, name: str) -> Future[str]:
        """Makes a picture of those that are offered the goal."""


@dataclass(frozen=True)
class Address:
    """host, port: to listen at; port 0 takes a free one. token: of those who may command; nobody may if empty."""

    host: str
    port: int
    token: str


class PageServer:
    """The page while the `with` block runs, on a thread of its own."""

    def __init__(self, address: Address, board: Board, orders: Orders, pictures: Callable[[str], bytes | None]) -> None:
        """``pictures`` gives the picture files that are offered as goals, by name."""
        self._address, self._board, self._orders, self._pictures = address, board, orders, pictures
        self._files = _page_files()
        self._viewers = 0
        self._started: Future[int] = Future()
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="page-server", daemon=True)
        self.port = address.port

    def __enter__(self) -> Self:
        """Raises OSError when the port is taken."""
        self._thread.start()
        self.port = self._started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._started.set_exception(error)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with serve(
            self._on_viewer,
            self._address.host,
            self._address.port,
            process_request=self._on_request,
            max_size=_LARGEST_MESSAGE,
            server_header=None,
        ) as server:
            self._started.set_result(next(iter(server.sockets)).getsockname()[1])
            await self._ending.wait()

    # --- the page -------------------------------------------------------------------------------------------

    def _on_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """A response, or None for a WebSocket that may be opened."""
        host = request.headers.get("Host", "")
        if self._address.host in _LOOPBACK and _hostname(host) not in _LOOPBACK:
            return connection.respond(403, f"expected one of {', '.join(_LOOPBACK)} as host, got {host!r}\n")
        path = urlsplit(request.path).path
        if path == LIVE:
            return self._refusal(connection, request, host)
        found = self._file(path)
        if found is None:
            return connection.respond(404, f"{path} is not here\n")
        kind, data = found
        headers = Headers({**_HEADERS, "Content-Type": kind, "Content-Length": str(len(data)), "Connection": "close"})
        return Response(200, "OK", headers, data)

    def _refusal(self, connection: ServerConnection, request: Request, host: str) -> Response | None:
        origin = request.headers.get("Origin")  # browsers always tell it
        if origin is not None and urlsplit(origin).netloc != host:
            return connection.respond(403, f"expected a page of {host}, got one of {origin}\n")
        if self._viewers >= _MOST_VIEWERS:
            return connection.respond(503, f"{_MOST_VIEWERS} viewers look already\n")
        return None

    def _file(self, path: str) -> tuple[str, bytes] | None:
        """(media type, content) of what the page consists of."""
        if path.startswith("/goals/"):
            data = self._pictures(path.removeprefix("/goals/"))
            return None if data is None else ("image/jpeg", data)
        return self._files.get(path)

    # --- viewers --------------------------------------------------------------------------------------------

    async def _on_viewer(self, socket: ServerConnection) -> None:
        self._viewers += 1
        self._board.viewer_came()
        showing = asyncio.create_task(self._show(socket))
        try:
            await self._obey(socket)
        except ConnectionClosed:
            pass  # as viewers do
        finally:
            showing.cancel()
            self._board.viewer_left()
            self._viewers -= 1

    async def _show(self, socket: ServerConnection) -> None:
        """Sends what is new; who is slow gets less of it."""
        number = 0
        while True:
            number, payloads = self._board.since(number)
            for payload in payloads:
                await socket.send(payload)
            await asyncio.sleep(_SEND_SECONDS)

    async def _obey(self, socket: ServerConnection) -> None:
        may_command = False
        async for message in socket:
            if isinstance(message, str) and '"token"' in message:
                may_command = self._knows_token(message)
                if not may_command:
                    await asyncio.sleep(_WRONG_TOKEN_SECONDS)
                await socket.send(as_json({"kind": "rights", "may_command": may_command}))
                continue
            text = await self._carry_out(message) if may_command else "this page may look only: open it with its token"
            await socket.send(as_json({"kind": "answer", "text": text}))

    def _knows_token(self, message: str) -> bool:
        token = _json_object(message).get("token")
        return bool(self._address.token) and hmac.compare_digest(str(token).encode(), self._address.token.encode())

    async def _carry_out(self, message: str | bytes) -> str:
        """What became of an order, for people."""
        try:
            return await asyncio.wrap_future(self._begin(message))
        except (ValueError, RuntimeError, OSError) as error:  # with a message for people
            return str(error)

    def _begin(self, message: str | bytes) -> Future[str]:
        if isinstance(message, bytes):
            return self._orders.pursue_file(message)
        match _json_object(message):
            case {"order": str(name)}:
                return self._orders.order(name)
            case {"goal_frame": int(number)}:
                return self._orders.pursue_frame(number)
            case {"goal_offered": str(name)}:
                return self._orders.pursue_offered(name)
        raise ValueError(f"expected an order, got {message[:80]!r}")


def _json_object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _hostname(host: str) -> str:
    """Without the port, and without the brackets of an IPv6 address."""
    return urlsplit(f"//{host}").hostname or ""


def _page_files() -> dict[str, tuple[str, bytes]]:
    """(media type, content) by path of everything in the folder `page`, and of the look of all pages."""
    folder = resources.files("jepa_tools.view") / "page"
    files = [*folder.iterdir(), resources.files("jepa_tools.reports") / "look.css"]
    served = {
        f"/{file.name}": (f"{_TYPES[file.name.rpartition('.')[2]]}; charset=utf-8", file.read_bytes())
        for file in files
        if file.name.rpartition(".")[2] in _TYPES
    }
    return {**served, "/": served["/index.html"]}

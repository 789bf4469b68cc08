"""A real browser without a window, driven through its own debugging protocol (Chrome DevTools Protocol)."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
START_SECONDS, ANSWER_SECONDS, WAIT_SECONDS = 60.0, 60.0, 60.0


def browser_program() -> str | None:
    """Path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a browser, while the `with` block runs."""

    def __init__(self, program: str, profile: Path, width: int = 1280, height: int = 900) -> None:
        options = ("--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
        self._process = subprocess.Popen(
            [program, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._numbers = itertools.count(1)
        self._session = ""
        self.complaints: list[str] = []

    def __enter__(self) -> Self:
        self._connection = connect(self._address(), max_size=None)
        self._socket: ClientConnection = self._connection.__enter__()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self._call(f"{domain}.enable")
        self._call("Emulation.setDeviceMetricsOverride", **self._size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.__exit__(kind, error, trace)
        self._process.terminate()
        self._process.wait()
        self._process.stderr.close()

    def open(self, url: str) -> None:
        """Loads a page."""
        self._call("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """What an expression is in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """The first value of an expression that is true."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (value := self.value(script)):
            assert time.monotonic() < deadline, (
                f"{script} never came true; page: {self.value('document.body.innerText')}"
            )
            time.sleep(0.2)
        return value

    def _address(self) -> str:
        for line in self._process.stderr:
            if found := re.search(r"DevTools listening on (ws://\S+)", line):
                return found.group(1)
        raise RuntimeError(f"the browser ended with {self._process.wait()}")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        request = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(request | ({"sessionId": self._session} if self._session else {})))
        while True:
            message = json.loads(self._socket.recv(timeout=ANSWER_SECONDS))
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(message["params"]))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

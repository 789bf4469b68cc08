"""What there is to see now: written by whoever listens to the robot, read by any number of viewers."""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REMEMBERED_POINTS = 1200
"""Of the curves: two minutes at 10 Hz."""

Payload = str | bytes
"""Text is JSON; bytes are a line of JSON and a picture file after it."""


@dataclass(frozen=True)
class Notice:
    """payload: as it goes to viewers. number: grows with every notice of the board."""

    number: int
    payload: Payload


class Board:
    """Named notices, of which the newest counts, and the points of curves, of which a viewer gets each one once.

    A viewer that is slow misses notices in between and never delays anybody. Threads: any.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._notices: dict[str, Notice] = {}
        self._points: deque[tuple[int, str]] = deque(maxlen=REMEMBERED_POINTS)
        self._viewers = 0

    def post(self, name: str, values: Mapping[str, Any], picture: bytes | None = None) -> None:
        """Replaces the notice `name`; viewers get `values` with it as "kind"."""
        text = as_json({"kind": name, **values})
        payload: Payload = text if picture is None else text.encode() + b"\n" + picture
        with self._lock:
            self._number += 1
            self._notices[name] = Notice(self._number, payload)

    def add_point(self, values: Mapping[str, Any]) -> None:
        """Adds a point to the curves."""
        with self._lock:
            self._number += 1
            self._points.append((self._number, as_json(values)))

    def since(self, number: int) -> tuple[int, list[Payload]]:
        """What came after `number`, oldest first, points of curves first; and the number to ask with the next time."""
        with self._lock:
            points = [text for at, text in self._points if at > number]
            notices = sorted((item for item in self._notices.values() if item.number > number), key=_number)
            curves: list[Payload] = [f'{{"kind":"points","points":[{",".join(points)}]}}'] if points else []
            return self._number, [*curves, *(item.payload for item in notices)]

    def viewer_came(self) -> None:
        """One more looks at the board."""
        with self._lock:
            self._viewers += 1

    def viewer_left(self) -> None:
        """One less looks at the board."""
        with self._lock:
            self._viewers -= 1

    @property
    def is_watched(self) -> bool:
        """Whether anybody looks."""
        return self._viewers > 0


def _number(notice: Notice) -> int:
    return notice.number


def as_json(values: Mapping[str, Any]) -> str:
    """JSON, in which numbers that are not finite are null."""
    return json.dumps(_finite(values), separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value

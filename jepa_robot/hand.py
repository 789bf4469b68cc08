"""The Franka Hand through libfranka: widths and grasps asked for, the newest first, and where the fingers are.

franky-control has it, because its calls leave Python's lock alone: fingers report while they move.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jepa_common.health import Level

POLL_SECONDS = 0.03
RECONNECT_SECONDS = 1.0


@dataclass(frozen=True)
class HandConfig:
    """speed: of the fingers, m/s. force: of a grasp, N. empty_width: a grasp that ends below it holds nothing, m."""

    speed: float = 0.1
    force: float = 20.0
    empty_width: float = 0.002


@dataclass(frozen=True)
class HandState:
    """width, max_width: m. holds: whether the last grasp found something. message: what went wrong last."""

    width: float
    max_width: float
    holds: bool
    message: str
    level: Level


@dataclass(frozen=True)
class _Order:
    """kind: "move" to a width, m; "grasp" with a force, N; or "home"."""

    kind: str
    width: float = 0.0
    force: float = 0.0
    on_done: Callable[[bool, str], None] | None = None


class FrankaHand:
    """One hand, with a thread of its own. A new order stops the one that is being executed."""

    def __init__(self, address: str, config: HandConfig, on_event: Callable[[str], None]) -> None:
        """Connects in the background; `on_event` is told what happens, on the hand's thread."""
        self._address, self._config, self._on_event = address, config, on_event
        self._order: _Order | None = None
        self._last: _Order | None = None
        self._news = threading.Event()
        self._closing = False
        self._state = HandState(float("nan"), float("nan"), False, f"not connected to {address}", Level.WARN)
        self._thread = threading.Thread(target=self._run, name="hand", daemon=True)
        self._thread.start()

    @property
    def state(self) -> HandState:
        """The last that is known."""
        return self._state

    def move(self, width: float) -> None:
        """Fingers to `width`, m."""
        self._give(_Order("move", width))

    def grasp(self, force: float | None = None, on_done: Callable[[bool, str], None] | None = None) -> None:
        """Closes with `force`, N, until something stops the fingers."""
        self._give(_Order("grasp", force=self._config.force if force is None else force, on_done=on_done))

    def home(self, on_done: Callable[[bool, str], None]) -> None:
        """Finds out how far the fingers open: once after power on, and after fingers were changed."""
        self._give(_Order("home", on_done=on_done))

    def close(self) -> None:
        """Ends the thread; what is held stays held."""
        self._closing = True
        self._news.set()
        self._thread.join()

    def _give(self, order: _Order) -> None:
        if order.on_done is None and order == self._last:
            return  # a planner repeats itself
        self._last = order
        replaced, self._order = self._order, order
        if replaced is not None and replaced.on_done is not None:
            replaced.on_done(False, "another order came")
        self._news.set()

    # --- the hand's thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        import franky

        while not self._closing:
            try:
                self._serve(franky.Gripper(self._address))
            except (franky.Exception, franky.GripperException) as error:
                self._note(f"gripper at {self._address}: {error}", Level.ERROR)
                self._news.wait(RECONNECT_SECONDS)
                self._news.clear()

    def _serve(self, gripper: Any) -> None:
        self._note("", Level.OK)
        while not self._closing:
            self._look(gripper)
            order, self._order = self._order, None
            if order is not None:
                self._execute(gripper, order)
            self._news.wait(POLL_SECONDS)
            self._news.clear()

    def _look(self, gripper: Any) -> None:
        state = gripper.state
        self._state = replace(self._state, width=state.width, max_width=state.max_width)

    def _execute(self, gripper: Any, order: _Order) -> None:
        """Begins, and looks on until it is done or another order comes."""
        self._holds(False)
        future = self._begin(gripper, order)
        while not future.wait(0.0):
            self._look(gripper)
            if self._order is not None or self._closing:
                gripper.stop()
            time.sleep(POLL_SECONDS / 3)
        self._look(gripper)
        ok, message = self._outcome(future, order)
        self._note(message, Level.OK if ok else Level.WARN)
        if order.on_done is not None:
            order.on_done(ok, message)

    def _begin(self, gripper: Any, order: _Order) -> Any:
        if order.kind == "home":
            return gripper.homing_async()
        if order.kind == "move":
            return gripper.move_async(min(max(order.width, 0.0), self._state.max_width), self._config.speed)
        # Any width counts: what is held is seen from where the fingers stopped.
        widest = self._state.max_width
        return gripper.grasp_async(0.0, self._config.speed, order.force, widest, widest)

    def _outcome(self, future: Any, order: _Order) -> tuple[bool, str]:
        import franky

        try:
            done = bool(future.get())
        except (franky.Exception, franky.GripperException) as error:
            return False, f"gripper: {order.kind} failed: {error}"
        if not done:
            return False, f"gripper: {order.kind} was not completed: stopped, or something is in the way"
        if order.kind != "grasp":
            return True, ""
        holds = self._state.width > self._config.empty_width
        self._holds(holds)
        width = f"{self._state.width * 1e3:.1f} mm"
        return holds, f"gripper: holds something {width} wide" if holds else "gripper: closed with nothing between"

    def _holds(self, holds: bool) -> None:
        self._state = replace(self._state, holds=holds)

    def _note(self, message: str, level: Level) -> None:
        self._state = replace(self._state, message=message, level=level)
        if message:
            self._on_event(message)

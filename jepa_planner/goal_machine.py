"""What becomes of a goal: the one state machine behind the topic, the action and the services. No ROS in here."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from jepa_planner.goals import GoalSequence, Outcome, Progress

GoalT = TypeVar("GoalT")


class State(IntEnum):
    """What the planner is doing; the values are those of `jepa_ros/PlannerStatus`."""

    UNCONFIGURED = 0
    INACTIVE = 1
    IDLE = 2
    PLANNING = 3
    HOLDING = 4
    PAUSED = 5
    REACHED = 6
    ABORTED = 7


class ErrorCode(IntEnum):
    """How a goal ended; the values are those of `jepa_ros/action/ReachGoal`."""

    REACHED = 0
    CANCELED = 1
    REPLACED = 2
    BUDGET_SPENT = 3
    STALE_DATA = 4
    PREDICTOR_FAILED = 5
    UNSAFE = 6
    BAD_GOAL = 7
    NOT_ACTIVE = 8


@dataclass(frozen=True)
class GoalResult:
    """How a goal ended: energies before each step, and the number of steps that were commanded."""

    code: ErrorCode
    message: str
    energies: tuple[float, ...] = ()
    steps: int = 0


OnFinished = Callable[[Hashable, GoalResult], None]


class GoalMachine(Generic[GoalT]):
    """One goal at a time, from its announcement to its result. Not thread-safe.

    A goal is announced, started when its latents are there, stepped or held, and finished exactly once:
    ``on_finished(goal id, result)``. A newer goal replaces an older one. While it cannot be pursued it is held, and
    given up when that lasts ``give_up_seconds``.
    """

    def __init__(self, give_up_seconds: float, on_finished: OnFinished) -> None:
        """``give_up_seconds``: longest time without a step before a goal is aborted, s."""
        if not give_up_seconds > 0:
            raise ValueError(f"give_up_seconds must be positive, got {give_up_seconds}")
        self._give_up_seconds = give_up_seconds
        self._on_finished = on_finished
        self._active = False
        self._paused = False
        self._steps_granted = 0
        self._carries_out_step = False
        self._goal: Hashable | None = None
        self._sequence: GoalSequence[GoalT] | None = None
        self._steps = 0
        self._hold_reason = ""
        self._held_since: float | None = None
        self._rest = State.INACTIVE
        self._rest_reason = ""

    # --- what is going on -----------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the planner is doing."""
        if self._goal is None:
            return State.PAUSED if self._paused and self._active else self._rest
        if self._paused and not self._steps_granted:
            return State.PAUSED
        return State.HOLDING if self._hold_reason or self._sequence is None else State.PLANNING

    @property
    def reason(self) -> str:
        """Why the arm holds still or the last goal was given up; empty when nothing is wrong."""
        return self._hold_reason if self._goal is not None else self._rest_reason

    @property
    def goal(self) -> Hashable | None:
        """Identity of the present goal, None without one."""
        return self._goal

    @property
    def sequence(self) -> GoalSequence[GoalT] | None:
        """The present goal's sub-goals, None before it was started."""
        return self._sequence

    @property
    def steps(self) -> int:
        """Actions commanded for the present or last goal."""
        return self._steps

    @property
    def wants_step(self) -> bool:
        """Whether the next action should be planned now."""
        if not self._active or self._sequence is None:
            return False
        return not self._paused or self._steps_granted > 0

    @property
    def lets_move(self) -> bool:
        """Whether the arm may move for the goal: its next action is due, or a granted step is being carried out."""
        return self.wants_step or self._carries_out_step

    @property
    def must_rest(self) -> bool:
        """Whether the arm has to stand still: no goal, a pause, or a hold."""
        return not self.lets_move or bool(self._hold_reason)

    # --- life cycle and services ----------------------------------------------------------------------------

    def activate(self) -> None:
        """Goals are accepted from now on."""
        self._active, self._paused, self._steps_granted, self._carries_out_step = True, False, 0, False
        self._rest, self._rest_reason = State.IDLE, ""

    def deactivate(self) -> None:
        """Ends the present goal; none is accepted until `activate`."""
        self._finish(ErrorCode.NOT_ACTIVE, "the planner was deactivated")
        self._active = False
        self._rest, self._rest_reason = State.INACTIVE, ""

    def pause(self) -> None:
        """Holds still until `resume`, with or without a goal; also in the middle of a granted step."""
        self._paused, self._steps_granted, self._carries_out_step = True, 0, False

    def resume(self, now: float) -> None:
        """Ends a pause."""
        self._paused, self._steps_granted, self._carries_out_step = False, 0, False
        self._restart_patience(now)

    def step(self, now: float) -> bool:
        """Lets a paused goal take one step; false when there is no paused goal."""
        if not self._paused or self._sequence is None:
            return False
        self._steps_granted = 1
        self._restart_patience(now)
        return True

    def cancel(self, message: str) -> bool:
        """Ends the present goal; false when there is none."""
        return self._finish(ErrorCode.CANCELED, message)

    # --- a goal ---------------------------------------------------------------------------------------------

    def decline(self, message: str) -> None:
        """Says why no goal is pursued although one was there; nothing while one is pursued."""
        if self._goal is None and self._active:
            self._rest, self._rest_reason = State.ABORTED, message

    def announce(self, goal: Hashable, now: float, reason: str) -> None:
        """A new goal takes over; ``reason`` says what it waits for before it can start."""
        self._finish(ErrorCode.REPLACED, "a newer goal took over")
        if not self._active:
            self._on_finished(goal, GoalResult(ErrorCode.NOT_ACTIVE, "the planner is not active: activate it first"))
            return
        self._goal, self._sequence, self._steps = goal, None, 0
        self._hold_reason, self._held_since = reason, now

    def start(self, sequence: GoalSequence[GoalT]) -> None:
        """The announced goal's latents are there: it can be pursued."""
        if self._goal is None:
            return
        self._sequence = sequence
        self._hold_reason, self._held_since = "", None

    def waits_for(self, reason: str) -> None:
        """Says anew what the announced goal waits for."""
        if self._goal is not None and self._sequence is None:
            self._hold_reason = reason

    def observed(self, progress: Progress, energy: float) -> bool:
        """Takes in what a plan found out; true when the goal is still to be pursued."""
        if progress.outcome is Outcome.REACHED:
            self._finish(ErrorCode.REACHED, f"{progress.reason}" or f"energy {energy:.4g}")
        elif progress.outcome is Outcome.BUDGET_SPENT:
            self._finish(ErrorCode.BUDGET_SPENT, progress.reason)
        return self._goal is not None

    def stepped(self) -> None:
        """An action was commanded."""
        self._steps += 1
        self._carries_out_step = self._steps_granted > 0
        self._steps_granted = max(self._steps_granted - 1, 0)
        self._hold_reason, self._held_since = "", None

    def hold(self, code: ErrorCode, reason: str, now: float, abort: bool = False) -> None:
        """No action can be commanded now. Lasts that too long, or with ``abort``, the goal ends with ``code``."""
        if self._goal is None:
            return
        self._hold_reason = reason
        if self._held_since is None:
            self._held_since = now
        if self._paused and not self._steps_granted:
            self._held_since = now
        if abort or now - self._held_since >= self._give_up_seconds:
            self._finish(code, reason)

    def abort(self, code: ErrorCode, message: str) -> None:
        """Gives the present goal up."""
        self._finish(code, message)

    def _restart_patience(self, now: float) -> None:
        if self._held_since is not None:
            self._held_since = now

    def _finish(self, code: ErrorCode, message: str) -> bool:
        if self._goal is None:
            return False
        goal, sequence = self._goal, self._sequence
        self._goal, self._sequence = None, None
        self._hold_reason, self._held_since, self._steps_granted = "", None, 0
        self._carries_out_step = False
        reached = code is ErrorCode.REACHED
        canceled = code in (ErrorCode.CANCELED, ErrorCode.REPLACED)
        self._rest = State.REACHED if reached else State.IDLE if canceled else State.ABORTED
        self._rest_reason = "" if reached else message
        energies = sequence.energies if sequence else ()
        self._on_finished(goal, GoalResult(code, message, energies, self._steps))
        return True

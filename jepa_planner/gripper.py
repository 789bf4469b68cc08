"""When fingers open and close: by a sub-goal's schedule, or decided by the planner."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

GripperMode = Literal["scheduled", "planned"]
"""Who moves the gripper: the goals, each of which brings a command, or the planner, from pictures alone."""
GRIPPER_MODES: tuple[GripperMode, ...] = get_args(GripperMode)

OPEN, CLOSED = 0.0, 1.0
FINGERS_AT_REST = 0.02
"""Fingers whose closedness changes by less than this in a step have come to rest."""
FULLY_SHUT = 0.95
"""Fingers that stop before this closedness hold something."""


@dataclass(frozen=True)
class GripperConfig:
    """Who moves the gripper, and when a planned one moves. Closedness runs from 0 (open) to 1 (closed).

    Fingers that hold a cup stand at 0.3: the closedness that a picture of a grasp asks for commands neither "open" nor
    "closed". What tells is the change: the fingers in the goal picture are further closed, or further open, than now.
    They then close or open whole. The defaults are for latents that tell the closedness to a few hundredths, as the
    shipped model's do; where they tell it with more noise, the mean over several plans helps.

    mode: "planned", or "scheduled" for goals that bring commands along; one that brings none leaves the gripper.
    close_change, open_change: changes of the closedness, beyond which it closes or opens.
    least_gain: where the model cannot tell the change from the pictures and candidates are weighed by energy: share of
        it that a change has to save beside leaving the fingers as they are.
    near: longest planned translation, m, with which the gripper moves: an arm that still has a way to go has no object
        between its fingers yet.
    plans: fingers let go of what they hold, and a goal counts as reached, only after so many plans near it, which are
        averaged (up to three times as many); fingers close when the last one asks for it.
    rest_steps: the arm rests until the fingers have stopped, for two steps at least and this many at most.
    dwell_steps: steps between two changes of mind.
    """

    mode: GripperMode = "scheduled"
    close_change: float = 0.08
    open_change: float = 0.1
    least_gain: float = 0.15
    near: float = 0.02
    plans: int = 1
    rest_steps: int = 3
    dwell_steps: int = 2

    def __post_init__(self) -> None:
        if not (0 < self.close_change <= 1 and 0 < self.open_change <= 1):
            raise ValueError(
                f"close_change and open_change must lie in (0, 1], got {self.close_change} and {self.open_change}"
            )
        if self.mode not in GRIPPER_MODES:
            raise ValueError(f"mode must be one of {', '.join(GRIPPER_MODES)}, got {self.mode!r}")
        if not 0 <= self.least_gain < 1:
            raise ValueError(f"least_gain must lie in [0, 1), got {self.least_gain}")
        if not self.near > 0:
            raise ValueError(f"near must be positive, got {self.near}")
        if self.plans < 1 or self.rest_steps < 2 or self.dwell_steps < 0:
            raise ValueError(
                "plans must be at least 1, rest_steps at least 2 and dwell_steps at least 0, got "
                f"{self.plans}, {self.rest_steps} and {self.dwell_steps}"
            )


class HeldFingers:
    """How far fingers will still move that are commanded to a closedness. Not thread-safe.

    Fingers that are stopped by what they hold never get there: a plan that imagined them closing on would imagine the
    object gone.
    """

    def __init__(self) -> None:
        self._command: float | None = None
        self._closedness = float("nan")

    def reset(self) -> None:
        """Forget the last step."""
        self._command, self._closedness = None, float("nan")

    def change(self, command: float | None, closedness: float) -> float | None:
        """Change of closedness to expect of the next step, of fingers at ``closedness``; None without a command."""
        at_rest = self._command == command and abs(closedness - self._closedness) < FINGERS_AT_REST
        self._command, self._closedness = command, closedness
        if command is None:
            return None
        return 0.0 if at_rest else command - closedness


class PlannedGripper:
    """Decides from plans when the fingers open and close, and when the arm rests meanwhile. Not thread-safe.

    Each step `observe` is told where the fingers are; unless `moves`, a plan is made, and `decide` takes in how much
    further closed the fingers should be. A model that does not tell is asked for the energies of several `changes`.
    """

    def __init__(self, config: GripperConfig) -> None:
        self._config = config
        self._changes: deque[float] = deque(maxlen=_REMEMBERED * config.plans)
        self.reset()

    def reset(self) -> None:
        """A new goal: nothing is commanded, and the fingers stay as they are until a plan asks for more."""
        self._command: float | None = None
        self._closedness = float("nan")
        self._stopped = False
        self._steps_since_change = self._config.dwell_steps
        self._rested = self._config.rest_steps
        self.begin_sub_goal()

    def begin_sub_goal(self) -> None:
        """What plans toward the last sub-goal asked for counts no more; commands and moving fingers go on."""
        self._changes.clear()
        self._settled = False

    @property
    def command(self) -> float | None:
        """The command in force: 0 open, 1 closed, None as long as neither was decided."""
        return self._command

    @property
    def settled(self) -> bool:
        """Whether the last plans near the present sub-goal left the fingers as they are."""
        return self._settled

    @property
    def moves(self) -> bool:
        """Whether the fingers still move on a command, so that the arm rests."""
        rested, most = self._rested, self._config.rest_steps
        return rested < most and not (rested >= _LEAST_REST and self._stopped)

    @property
    def holds(self) -> bool:
        """Whether there is something between the fingers: neither open nor shut, and not because they were opened."""
        return self._command != OPEN and 1 - FULLY_SHUT < self._closedness < FULLY_SHUT

    def observe(self, closedness: float) -> None:
        """A new step, with the fingers at ``closedness``."""
        self._steps_since_change += 1
        self._stopped = abs(closedness - self._closedness) < FINGERS_AT_REST
        self._closedness = closedness

    def obey(self, command: float) -> None:
        """A sub-goal brought this ``command`` along; plans toward later ones start from it."""
        self._command = command

    def rest(self) -> None:
        """The arm rests in this step."""
        self._rested += 1

    def changes(self) -> npt.NDArray[np.float64]:
        """Changes of the closedness [K] to weigh against each other; the first leaves the fingers as they are.

        Fingers that hold something get no further closed.
        """
        targets = np.linspace(OPEN, self._closedness if self.holds else CLOSED, _TARGETS)
        return np.concatenate([[0.0], targets - self._closedness])

    def decide(self, change: float, length: float) -> bool:
        """Take in the ``change`` of the closedness that the goal asks for, with a planned step of ``length``, m.

        Returns whether the fingers begin to move.
        """
        self._rested = self._config.rest_steps
        if length > _COUNTS * self._config.near:
            return False
        self._changes.append(change)
        mean, certain = float(np.mean(self._changes)), len(self._changes) >= self._config.plans
        # Closing on nothing costs some steps, not closing costs the object: the last plan alone may ask for it.
        wanted = self._wanted(change) if change > self._config.close_change else self._wanted(mean)
        self._settled = wanted is None and certain
        hasty = wanted == OPEN and self.holds and not certain
        if wanted is None or hasty or not self._may_move(length):
            return False
        self._command, self._steps_since_change, self._rested = wanted, 0, 0
        self._changes.clear()
        return True

    def _wanted(self, change: float) -> float | None:
        """The command that a ``change`` asks for; None where it is in force, or where the fingers are."""
        if change > self._config.close_change and self._command != CLOSED and self._closedness < FULLY_SHUT:
            return CLOSED
        if change < -self._config.open_change and self._command != OPEN and self._closedness > 1 - FULLY_SHUT:
            return OPEN
        return None

    def _may_move(self, length: float) -> bool:
        return length < self._config.near and self._steps_since_change > self._config.dwell_steps


# So many times `plans` are averaged: the longer an arm stays at a goal with what it holds, the less one plan counts.
_REMEMBERED = 3
# Plans count from this many times `near` on.
_COUNTS = 2.0
# Places of the fingers that a plan is weighed with.
_TARGETS = 11
# Of a command that was just given nothing is seen yet at the next look.
_LEAST_REST = 2

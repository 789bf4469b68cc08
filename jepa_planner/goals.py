"""Goal sequences: which image is pursued now, and when it counts as reached, stuck or given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, TypeVar

GoalT = TypeVar("GoalT")


@dataclass(frozen=True)
class GoalConfig:
    """When a sub-goal is over.

    tolerance: latent energy below which it is reached; 0 leaves that to the plateau.
    plateau_steps: it is reached, too, when the energy has not improved for so many steps; 0 turns this off.
    plateau_noise: relative change of energy that is noise and no improvement.
    plateau_energy: a plateau above this energy means stuck, not reached; infinity accepts every plateau.
    max_steps: budget of a sub-goal that brings none of its own.
    advance_when_spent: an unreached sub-goal that is not the last gives way to the next when its budget is
        spent, as in the published 4/10/4 schedule; otherwise the whole sequence is given up.
    gripper_steps: steps at the beginning of a sub-goal in which only the gripper moves, if the one before commanded it
        elsewhere: an arm that moves on before the fingers have closed leaves the object behind. Such a sub-goal is
        not reached before, however low the energy. They count as steps of the budget.
    """

    tolerance: float = 0.0
    plateau_steps: int = 6
    plateau_noise: float = 0.02
    plateau_energy: float = float("inf")
    max_steps: int = 60
    advance_when_spent: bool = True
    gripper_steps: int = 3

    def __post_init__(self) -> None:
        if self.max_steps < 1 or self.plateau_steps < 0 or self.gripper_steps < 0:
            raise ValueError(
                "max_steps must be at least 1, plateau_steps and gripper_steps at least 0, got "
                f"{self.max_steps}, {self.plateau_steps} and {self.gripper_steps}"
            )
        if not self.tolerance >= 0 or not self.plateau_noise >= 0 or not self.plateau_energy > 0:
            raise ValueError(f"tolerance, plateau_noise and plateau_energy cannot be negative, got {self}")


@dataclass(frozen=True)
class SubGoal(Generic[GoalT]):
    """One goal of a sequence.

    goal: whatever the cost understands: a latent in process, a stamp over ROS.
    max_steps: its budget; None takes the configured one.
    gripper: closedness 0..1 to hold meanwhile; None leaves it to the planner.
    """

    goal: GoalT
    max_steps: int | None = None
    gripper: float | None = None

    def __post_init__(self) -> None:
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps of a sub-goal must be at least 1, got {self.max_steps}")
        if self.gripper is not None and not 0 <= self.gripper <= 1:
            raise ValueError(f"gripper closedness must lie in 0 (open) ... 1 (closed), got {self.gripper}")


class Outcome(Enum):
    """Where a goal sequence stands."""

    PURSUING = "pursuing"
    REACHED = "reached"
    BUDGET_SPENT = "budget spent"


@dataclass(frozen=True)
class Progress:
    """What one observation of the energy led to.

    sub_goal: index that is pursued now. advanced: it was another one before this observation.
    steps: observations counted over the whole sequence.
    gripper_moves: the arm has to rest in this step, while the gripper closes or opens.
    """

    outcome: Outcome
    sub_goal: int
    steps: int
    advanced: bool = False
    reason: str = ""
    gripper_moves: bool = False


class GoalSequence(Generic[GoalT]):
    """Walks through sub-goals as their energies come in. Not thread-safe."""

    def __init__(self, goals: Sequence[SubGoal[GoalT]], config: GoalConfig) -> None:
        if not goals:
            raise ValueError("a goal sequence needs at least one goal image or latent")
        self._goals = tuple(goals)
        self._config = config
        self._index = 0
        self._steps = 0
        self._outcome = Outcome.PURSUING
        self._energies: list[float] = []
        self._curve: list[float] = []

    @property
    def current(self) -> SubGoal[GoalT]:
        """The sub-goal that is pursued now."""
        return self._goals[self._index]

    @property
    def index(self) -> int:
        """Which sub-goal that is."""
        return self._index

    @property
    def goals(self) -> tuple[SubGoal[GoalT], ...]:
        """All sub-goals."""
        return self._goals

    @property
    def outcome(self) -> Outcome:
        """Where the sequence stands."""
        return self._outcome

    @property
    def steps(self) -> int:
        """Observations counted so far."""
        return self._steps

    @property
    def energies(self) -> tuple[float, ...]:
        """Energy at every counted step, each against the sub-goal of its time."""
        return tuple(self._curve)

    def observe(self, energy: float, settled: bool = True) -> Progress:
        """Take in the energy of now against the current sub-goal, before a step is planned.

        A sub-goal is not reached before its gripper is ``settled``, however low the energy: a planned one may be about
        to close.

        After a Progress with ``advanced`` the caller measures against the new sub-goal and observes again.
        Raises ValueError for an energy that is not finite.
        """
        if not abs(energy) < float("inf"):
            raise ValueError(f"the energy of now must be finite, got {energy}")
        if self._outcome is not Outcome.PURSUING:
            return self._progress()
        waits = len(self._energies) < self._gripper_steps()
        reached = "" if waits or not settled else self._why_reached(energy)
        if reached:
            return self._finish_sub_goal(Outcome.REACHED, reached)
        if len(self._energies) >= self._budget():
            return self._spend(energy)
        self._energies.append(energy)
        self._curve.append(energy)
        self._steps += 1
        return replace(self._progress(), gripper_moves=waits)

    def take_back(self) -> None:
        """The step after the last observation was not taken: it counts for no budget and no plateau."""
        if self._outcome is Outcome.PURSUING and self._energies:
            self._energies.pop()
            self._curve.pop()
            self._steps -= 1

    def reopen(self) -> None:
        """The last sub-goal may not be reached, because the arm was still moving: the next observation judges."""
        self._outcome = Outcome.PURSUING

    def _gripper_steps(self) -> int:
        """Steps that the gripper needs for the current sub-goal before the arm goes on."""
        before = self._goals[self._index - 1].gripper if self._index else None
        moves = self.current.gripper is not None and before is not None and before != self.current.gripper
        return self._config.gripper_steps if moves else 0

    def _budget(self) -> int:
        return self.current.max_steps or self._config.max_steps

    def _why_reached(self, energy: float) -> str:
        if energy < self._config.tolerance:
            return f"energy {energy:.4g} is below the tolerance {self._config.tolerance:.4g}"
        if energy < self._config.plateau_energy and self._is_plateau(energy):
            return f"energy {energy:.4g} has not improved for {self._config.plateau_steps} steps"
        return ""

    def _is_plateau(self, energy: float) -> bool:
        steps = self._config.plateau_steps
        energies = [*self._energies, energy]
        if steps == 0 or len(energies) <= steps:
            return False
        return min(energies[-steps:]) > min(energies[:-steps]) * (1 - self._config.plateau_noise)

    def _spend(self, energy: float) -> Progress:
        reason = (
            f"sub-goal {self._index + 1} of {len(self._goals)} was not reached in {self._budget()} steps: "
            f"energy {energy:.4g}, tolerance {self._config.tolerance:.4g}"
        )
        is_last = self._index == len(self._goals) - 1
        if is_last or not self._config.advance_when_spent:
            self._outcome = Outcome.BUDGET_SPENT
            return self._progress(reason=reason)
        return self._finish_sub_goal(Outcome.BUDGET_SPENT, reason)

    def _finish_sub_goal(self, outcome: Outcome, reason: str) -> Progress:
        if self._index == len(self._goals) - 1:
            self._outcome = outcome
            return self._progress(reason=reason)
        self._index += 1
        self._energies.clear()
        return self._progress(advanced=True, reason=reason)

    def _progress(self, advanced: bool = False, reason: str = "") -> Progress:
        return Progress(self._outcome, self._index, self._steps, advanced, reason)

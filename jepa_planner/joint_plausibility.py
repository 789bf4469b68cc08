"""Joint states that no arm can have reached are not believed, unless they go on alone: then it was put elsewhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

# What a joint may be off without having moved, rad; its speed beside what it claims, rad/s; the share of that by which
# it may move faster between two states; and the highest speed that is believed of any arm, rad/s.
_NOISE, _SLOWEST, _FASTER, _FASTEST = 0.02, 0.5, 1.5, 6.0
# The speed, rad/s, and the jump, rad, that are believed of an arm whose joint states say nothing of speeds.
_UNKNOWN_SPEED, _UNKNOWN_JUMP = 20.0, 0.2
# An arm that was put elsewhere, by a simulator, is believed when nothing else was heard of it for so long, s.
_ALONE_SECONDS = 0.15


class JointPlausibility:
    """Compares each joint state with the last one that was believed. Not thread-safe."""

    def __init__(self) -> None:
        self._believed: tuple[float, Vector, float | None] | None = None
        self._doubted: tuple[float, Vector, float | None] | None = None
        self._alone_since = float("inf")
        self.doubt = ""
        """Why the last joint state was not believed; empty when it was."""

    def reset(self) -> None:
        """Anything is believed next."""
        self._believed = self._doubted = None
        self.doubt = ""

    def is_believed(self, time: float, positions: Vector, velocities: Vector | None) -> bool:
        """Whether an arm can be at ``positions`` [joints] at ``time``, s, after where it was; None: unknown speeds."""
        state = (time, positions, None if velocities is None else float(np.max(np.abs(velocities))))
        off = 0.0 if self._believed is None else _beyond(self._believed, state)
        if off <= 0 or self._is_alone(state):
            self._believed, self._doubted, self.doubt = state, None, ""
            return True
        self.doubt = f"an arm moved {off:.2f} rad further than it can in that time: does another node publish them?"
        return False

    def _is_alone(self, state: tuple[float, Vector, float | None]) -> bool:
        """Whether only an arm that is elsewhere was heard of for a while."""
        if self._doubted is None or _beyond(self._doubted, state) > 0:
            self._alone_since = state[0]
        self._doubted = state
        return state[0] - self._alone_since >= _ALONE_SECONDS


def _beyond(before: tuple[float, Vector, float | None], after: tuple[float, Vector, float | None]) -> float:
    """How much further, rad, a joint has gone than one can."""
    seconds = max(after[0] - before[0], 0.0)
    moved = float(np.max(np.abs(after[1] - before[1])))
    if before[2] is None or after[2] is None:
        return moved - max(_UNKNOWN_JUMP, _UNKNOWN_SPEED * seconds)
    claimed = min(max(before[2], after[2]), _FASTEST)
    return moved - _NOISE - (_SLOWEST + _FASTER * claimed) * seconds

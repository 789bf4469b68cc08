"""The last joint states by time, so that an image can be paired with the arm's state at its stamp."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jepa_planner.joint_plausibility import JointPlausibility

Vector = npt.NDArray[np.float64]


# A time so far before the newest means that the clock was set back, s; less, that a message is late.
_CLOCK_SET_BACK = 1.0
# After a doubt, an arm that is so far from where it was has not gone there, rad.
_PUT_ELSEWHERE = 0.02


class JointStateRefusedError(ValueError):
    """A joint state that cannot be used; the text says what was expected and what came."""


@dataclass(frozen=True, eq=False)
class JointSample:
    """Arm positions and velocities [joints] and gripper closedness (0 open ... 1 closed) at a time, s."""

    time: float
    positions: Vector
    velocities: Vector
    closedness: float


class JointHistory:
    """Keeps the joint states of the last seconds. Not thread-safe."""

    def __init__(
        self,
        arm_joints: Sequence[str],
        finger_joints: Sequence[str],
        finger_travel: float = 0.04,
        seconds: float = 2.0,
    ) -> None:
        """``finger_travel``: position of an open finger, m. ``seconds``: how much is kept."""
        self._arm_joints = tuple(arm_joints)
        self._finger_joints = tuple(finger_joints)
        self._finger_travel = finger_travel
        self._seconds = seconds
        self._samples: deque[JointSample] = deque()
        self._plausibility = JointPlausibility()

    def add(self, time: float, names: Sequence[str], positions: Sequence[float], velocities: Sequence[float]) -> None:
        """Takes in one joint state; messages with neither the arm nor the fingers are ignored.

        Velocities may be missing (then 0), and so may the fingers (then they stay as they were, at first
        open).
        A time long before the newest means that the clock was set back: what was known is forgotten. A place that no
        arm can have reached is not believed, unless it goes on alone: then a simulator has put the arm elsewhere, and
        what was known is forgotten, too.
        Raises JointStateRefusedError for values that are missing or not finite.
        """
        if not set(self._arm_joints) <= set(names):
            self._refuse_part_of_the_arm(names)
            return
        values = self._column(names, positions, "position")
        speeds = self._column(names, velocities, "velocity") if len(velocities) else {}
        sample = JointSample(
            time,
            np.array([values[name] for name in self._arm_joints]),
            np.array([speeds.get(name, 0.0) for name in self._arm_joints]),
            self._closedness(values),
        )
        self._append(sample, has_velocities=len(velocities) > 0)

    @property
    def doubt(self) -> str:
        """Why the last joint state was not believed; empty when it was."""
        return self._plausibility.doubt

    def newest(self) -> JointSample | None:
        """The last joint state, None before the first."""
        return self._samples[-1] if self._samples else None

    def recent(self, time: float) -> JointSample | None:
        """As `at`; None also for a ``time``, s, that is further back than what is kept, or has not come yet."""
        newest = self.newest()
        if newest is None or not newest.time - self._seconds <= time <= newest.time:
            return None
        return self.at(time)

    def clear(self) -> None:
        """Forgets everything."""
        self._samples.clear()
        self._plausibility.reset()

    def at(self, time: float) -> JointSample | None:
        """The joint state at ``time``, s: interpolated, held at both ends; None before the first message."""
        if not self._samples:
            return None
        index = bisect_right(self._samples, time, key=lambda sample: sample.time)
        if index == 0 or index == len(self._samples):
            return self._samples[min(index, len(self._samples) - 1)]
        return _between(self._samples[index - 1], self._samples[index], time)

    def _append(self, sample: JointSample, has_velocities: bool) -> None:
        newest = self.newest()
        if newest is not None and sample.time < newest.time - _CLOCK_SET_BACK:
            self.clear()
        elif newest is not None and sample.time <= newest.time:
            return
        doubted = self.doubt
        speeds = sample.velocities if has_velocities else None
        if not self._plausibility.is_believed(sample.time, sample.positions, speeds):
            return
        if doubted and self._samples and _was_put_elsewhere(self._samples[-1], sample):
            self._samples.clear()
        self._samples.append(sample)
        while self._samples[0].time < sample.time - self._seconds:
            self._samples.popleft()

    def _column(self, names: Sequence[str], values: Sequence[float], what: str) -> Mapping[str, float]:
        if len(values) != len(names):
            raise JointStateRefusedError(f"joint_states: {len(names)} names but {len(values)} {what} values")
        column = dict(zip(names, (float(value) for value in values), strict=True))
        used = (*self._arm_joints, *self._finger_joints)
        bad = [name for name in used if name in column and not np.isfinite(column[name])]
        if bad:
            raise JointStateRefusedError(f"joint_states: the {what} of {', '.join(bad)} is not finite")
        return column

    def _closedness(self, values: Mapping[str, float]) -> float:
        fingers = [values[name] for name in self._finger_joints if name in values]
        if not fingers:
            newest = self.newest()
            return newest.closedness if newest else 0.0
        return float(np.clip(1 - np.mean(fingers) / self._finger_travel, 0.0, 1.0))

    def _refuse_part_of_the_arm(self, names: Sequence[str]) -> None:
        missing = [name for name in self._arm_joints if name not in names]
        if len(missing) < len(self._arm_joints):
            raise JointStateRefusedError(f"joint_states: {', '.join(missing)} missing among {list(names)}")


def _was_put_elsewhere(before: JointSample, after: JointSample) -> bool:
    return float(np.max(np.abs(after.positions - before.positions))) > _PUT_ELSEWHERE


def _between(before: JointSample, after: JointSample, time: float) -> JointSample:
    share = (time - before.time) / (after.time - before.time)
    return JointSample(
        time,
        before.positions + share * (after.positions - before.positions),
        before.velocities + share * (after.velocities - before.velocities),
        before.closedness + share * (after.closedness - before.closedness),
    )

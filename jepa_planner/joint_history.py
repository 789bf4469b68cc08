"""The last joint states by time, so that an image can be paired with the arm's state at its stamp."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jepa_common.gripper_description import PLAY, GripperDescription
from jepa_planner.joint_plausibility import JointPlausibility

Vector = npt.NDArray[np.float64]


# A time so far before the newest means that the clock was set back, s; less, that a message is late.
_CLOCK_SET_BACK = 1.0
# After a doubt, an arm that is so far from where it was has not gone there, rad.
_PUT_ELSEWHERE = 0.02
_NAMES_SHOWN = 9


class JointStateRefusedError(ValueError):
    """A joint state that cannot be used; the text says what was expected and what came."""


@dataclass(frozen=True, eq=False)
class JointSample:
    """Arm positions and velocities [joints] and gripper closedness (0 open ... 1 closed) at a time, s.

    That of `JointHistory.newest` holds the closedness that was known when it came.
    """

    time: float
    positions: Vector
    velocities: Vector
    closedness: float


@dataclass(frozen=True)
class _Fingers:
    """How far the gripper was closed at a time, s."""

    time: float
    closedness: float


class JointHistory:
    """Keeps the joint states of the last seconds, of the arm and of the fingers. Not thread-safe."""

    def __init__(self, arm_joints: Sequence[str], gripper: GripperDescription, seconds: float = 2.0) -> None:
        """``seconds``: how much is kept."""
        self._arm_joints = tuple(arm_joints)
        self._gripper = gripper
        self._seconds = seconds
        self._samples: deque[JointSample] = deque()
        self._fingers: deque[_Fingers] = deque()
        self._others: tuple[str, ...] = ()
        self._plausibility = JointPlausibility()

    def add(self, time: float, names: Sequence[str], positions: Sequence[float], velocities: Sequence[float]) -> str:
        """Takes in one joint state, of the arm, of the fingers, or of both; others are ignored.

        Velocities that are missing or not finite count as 0. Fingers that are missing or not finite stay as they were,
        at first open.
        A time long before the newest means that the clock was set back: what was known is forgotten. One a little
        before it means that the message is late, and only its fingers count. A place that no arm can have reached is
        not believed, nor are its fingers, unless it goes on alone: then a simulator has put the arm elsewhere, and what
        was known is forgotten, too.
        Returns what of it could not be used although the rest was; empty when everything was.
        Raises JointStateRefusedError for a message of another length than it says, for a joint that comes twice in it,
        for a part of the arm, and for positions of the arm that are not finite; the fingers of such an arm count.
        """
        has_arm = self._has_arm(names)
        if not has_arm and not set(self._gripper.joints) & set(names):
            self._others = tuple(names)
            return ""
        if twice := [name for name in (*self._arm_joints, *self._gripper.joints) if names.count(name) > 1]:
            raise JointStateRefusedError(f"joint_states: {', '.join(twice)} more than once in a message")
        values = _column(names, positions, "position")
        speeds = _column(names, velocities, "velocity") if has_arm and len(velocities) else {}
        bad = _not_finite(self._arm_joints, values)
        sample = self._arm_sample(time, values, speeds) if has_arm and not bad else None
        if sample is not None and not self._is_believed(sample, knows_speeds=self._all_finite(speeds)):
            return ""
        left_out = self._take_fingers(time, values)
        if bad:
            raise JointStateRefusedError(f"joint_states: the position of {bad} is not finite")
        if sample is not None:
            self._append(sample)
            left_out += self._why_slow(speeds)
        return "joint_states: " + "; ".join(left_out) if left_out else ""

    def why_none(self) -> str:
        """What came instead of the arm's joints, as long as they have not come; empty when nothing did."""
        if self._samples or not self._others:
            return ""
        came, wanted = _listed(self._others), _listed(self._arm_joints)
        return f"messages with {came} came, none with {wanted}: check arm.joints"

    @property
    def gripper_is_unknown(self) -> bool:
        """Whether the gripper counts as open because none of its joints has come yet."""
        return bool(self._gripper.joints) and not self._fingers

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
        self._fingers.clear()
        self._plausibility.reset()

    def at(self, time: float) -> JointSample | None:
        """The joint state at ``time``, s: interpolated, held at both ends; None before the first message."""
        if not self._samples:
            return None
        index = bisect_right(self._samples, time, key=lambda sample: sample.time)
        if index == 0 or index == len(self._samples):
            arm = self._samples[min(index, len(self._samples) - 1)]
        else:
            arm = _between(self._samples[index - 1], self._samples[index], time)
        # Fingers have times of their own: they may come in messages of their own.
        return replace(arm, closedness=self._closedness(time))

    def _has_arm(self, names: Sequence[str]) -> bool:
        missing = [name for name in self._arm_joints if name not in names]
        if missing and len(missing) < len(self._arm_joints):
            raise JointStateRefusedError(f"joint_states: {', '.join(missing)} missing among {list(names)}")
        return not missing

    def _arm_sample(self, time: float, values: Mapping[str, float], speeds: Mapping[str, float]) -> JointSample:
        """The arm's part of a message; `_append` adds the fingers."""
        positions = np.array([values[name] for name in self._arm_joints])
        velocities = np.array([speeds.get(name, 0.0) for name in self._arm_joints])
        return JointSample(time, positions, np.where(np.isfinite(velocities), velocities, 0.0), 0.0)

    def _all_finite(self, speeds: Mapping[str, float]) -> bool:
        return all(np.isfinite(speeds.get(name, np.nan)) for name in self._arm_joints)

    def _why_slow(self, speeds: Mapping[str, float]) -> list[str]:
        """What is told of velocities that are no numbers."""
        bad = _not_finite((*self._arm_joints, *self._gripper.joints), speeds)
        return [f"the velocity of {bad} is not finite and counts as 0"] if bad else []

    def _is_believed(self, sample: JointSample, knows_speeds: bool) -> bool:
        """Whether the arm can be there; forgets what was known of one that got there in no way of its own."""
        newest = self.newest()
        is_set_back = newest is not None and sample.time < newest.time - _CLOCK_SET_BACK
        if is_set_back:
            self._plausibility.reset()
        elif newest is not None and sample.time <= newest.time:
            return True  # late: it is not kept
        doubted = self.doubt
        if not self._plausibility.is_believed(
            sample.time, sample.positions, sample.velocities if knows_speeds else None
        ):
            return False
        if is_set_back or (doubted and newest is not None and _was_put_elsewhere(newest, sample)):
            self._samples.clear()
            self._begin_fingers_at(sample.time)
        return True

    def _append(self, sample: JointSample) -> None:
        if self._samples and sample.time <= self._samples[-1].time:
            return
        self._samples.append(replace(sample, closedness=self._closedness(sample.time)))
        while self._samples[0].time < sample.time - self._seconds:
            self._samples.popleft()

    def _take_fingers(self, time: float, values: Mapping[str, float]) -> list[str]:
        """Keeps how far the fingers are closed; what of them was left out, or cannot be."""
        joints = self._gripper.joints
        known = [values[name] for name in joints if np.isfinite(values.get(name, np.nan))]
        bad = _not_finite(joints, values)
        left_out = [f"the position of {bad} is not finite, so the gripper goes by what else is known"] if bad else []
        if not known:
            return left_out
        position = float(np.mean(known))
        self._add_fingers(_Fingers(time, float(self._gripper.closedness(position))))
        return left_out + self._why_beyond(position)

    def _why_beyond(self, position: float) -> list[str]:
        gripper = self._gripper
        if gripper.excess(position) <= PLAY:
            return []
        return [
            f"{', '.join(gripper.joints)} at {position:.4g} lie beyond {gripper.open:g} (open) to {gripper.closed:g} "
            "(closed): check arm.finger_open and arm.finger_closed"
        ]

    def _add_fingers(self, fingers: _Fingers) -> None:
        if self._fingers and fingers.time < self._fingers[-1].time - self._seconds:
            self._fingers.clear()  # the clock was set back
        # Stamps that stand still, as those of a driver that sets none, must not pile up.
        if self._fingers and self._fingers[-1].time == fingers.time:
            self._fingers.pop()
        # Two publishers' stamps may cross by a little.
        insort(self._fingers, fingers, key=lambda kept: kept.time)
        # One that is older than what is kept stays: fingers are held until they are heard of again.
        while len(self._fingers) > 1 and self._fingers[1].time < self._fingers[-1].time - self._seconds:
            self._fingers.popleft()

    def _begin_fingers_at(self, time: float) -> None:
        """Forgets where fingers were on the way to ``time``; what was known last holds."""
        now = [fingers for fingers in self._fingers if fingers.time == time]
        last = [replace(self._fingers[-1], time=time)] if self._fingers else []
        self._fingers = deque(now or last)

    def _closedness(self, time: float) -> float:
        if not self._fingers:
            return 0.0
        index = bisect_right(self._fingers, time, key=lambda fingers: fingers.time)
        if index == 0 or index == len(self._fingers):
            return self._fingers[min(index, len(self._fingers) - 1)].closedness
        before, after = self._fingers[index - 1], self._fingers[index]
        share = (time - before.time) / (after.time - before.time)
        return before.closedness + share * (after.closedness - before.closedness)


def _column(names: Sequence[str], values: Sequence[float], what: str) -> dict[str, float]:
    if len(values) != len(names):
        raise JointStateRefusedError(f"joint_states: {len(names)} names but {len(values)} {what} values")
    return dict(zip(names, (float(value) for value in values), strict=True))


def _not_finite(names: Sequence[str], values: Mapping[str, float]) -> str:
    """Those of ``names`` that have a value which is no number, for people; empty when none has."""
    return ", ".join(name for name in names if name in values and not np.isfinite(values[name]))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (" ..." if len(names) > _NAMES_SHOWN else "") or "no names"


def _was_put_elsewhere(before: JointSample, after: JointSample) -> bool:
    return float(np.max(np.abs(after.positions - before.positions))) > _PUT_ELSEWHERE


def _between(before: JointSample, after: JointSample, time: float) -> JointSample:
    share = (time - before.time) / (after.time - before.time)
    return JointSample(
        time,
        before.positions + share * (after.positions - before.positions),
        before.velocities + share * (after.velocities - before.velocities),
        before.closedness,
    )

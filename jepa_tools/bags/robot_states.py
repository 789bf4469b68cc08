"""End-effector states at given moments, from joint positions and a URDF or from recorded poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jepa_common.gripper_description import PLAY
from jepa_planner.kinematics import Kinematics
from jepa_tools.bags.bag_file import BagError
from jepa_tools.bags.bag_index import BagIndex, Series
from jepa_tools.bags.resampling import NANOSECONDS, Run, nearest_indices
from jepa_tools.bags.settings import BagSettings
from jepa_world_model.poses import difference

Array = NDArray[np.float64]
Stamps = NDArray[np.int64]

_SLACK = 0.1
"""By which arm joints may lie beyond the description's limits without a word, rad: those of similar arms differ."""

_IMPOSSIBLE = np.pi
"""Where many lie further beyond than this, rad, they are no angles of this arm in rad."""

_MANY = 0.01
"""Share of the joint states: single ones may be disturbed."""


class RobotStates:
    """Tells the robot's state at any moment of a bag. Not thread-safe.

    Attributes:
        urdf: the robot's description; empty if the bag was read by recorded poses.
        doubts: what speaks against how arm and gripper were read, for people.
    """

    def __init__(self, path: Path, index: BagIndex, settings: BagSettings) -> None:
        """Raises BagError when the bag tells no state or an impossible one, or its URDF does not fit the settings."""
        self._path, self._index, self._settings = path, index, settings
        self.urdf = Path(settings.urdf).read_text(encoding="utf-8") if settings.urdf else index.urdf
        self._kinematics: Kinematics | None = None
        arm_doubt = ""
        if len(index.arm) and self.urdf:
            self._kinematics = self._robot()
            arm_doubt = self._check_arm(self._kinematics)
        elif not len(index.poses):
            raise BagError(self._what_is_missing())
        self.doubts = tuple(filter(None, (arm_doubt, self._check_gripper())))

    @property
    def has_joints(self) -> bool:
        """Whether states come from joint positions."""
        return self._kinematics is not None

    def _robot(self) -> Kinematics:
        settings = self._settings
        try:
            return Kinematics.from_urdf(self.urdf, settings.base_link, settings.tip_link, settings.arm_joints)
        except ValueError as error:
            raise BagError(
                f"{self._path}: {error}; base_link, tip_link and arm_joints of the settings must fit the URDF"
            ) from error

    def _check_arm(self, kinematics: Kinematics) -> str:
        """What speaks against the joint positions, empty when nothing does; raises BagError when they cannot be."""
        limits, positions = kinematics.limits(), self._index.arm.values
        # A joint that turns without end has a range of one turn, and its driver may count turns.
        bounded = ~np.isclose(limits.upper - limits.lower, 2 * np.pi)
        excess = np.maximum(limits.lower - positions, positions - limits.upper) * bounded
        beyond = excess.max(axis=1)
        if beyond.max() <= _SLACK:
            return ""
        joint = int(excess.max(axis=0).argmax())
        told = (
            f"{np.count_nonzero(beyond > _SLACK)} of {len(beyond)} joint states lie beyond the URDF's limits: "
            f"{self._settings.arm_joints[joint]} reaches from {positions[:, joint].min():.4g} to "
            f"{positions[:, joint].max():.4g}, expected {limits.lower[joint]:.4g} to {limits.upper[joint]:.4g} rad"
        )
        if np.mean(beyond > _IMPOSSIBLE) > _MANY:
            raise BagError(f"{self._path}: {told}; are they degrees, or is the URDF another robot's?")
        return told

    def _check_gripper(self) -> str:
        """What speaks against the description of the gripper, as `_check_arm` does."""
        positions, gripper = self._index.fingers.values, self._settings.gripper()
        beyond = np.count_nonzero(gripper.excess(positions) > PLAY)
        if not beyond:
            return ""
        told = (
            f"{beyond} of {len(positions)} finger positions lie beyond the gripper's ends, {gripper.open:g} (open) and "
            f"{gripper.closed:g} (closed): they reach from {positions.min():.4g} to {positions.max():.4g}"
        )
        if beyond > _MANY * len(positions):
            raise BagError(
                f"{self._path}: {told}; say finger_open and finger_closed in the settings, or leave finger_joints empty"
            )
        return told

    def _what_is_missing(self) -> str:
        joints = ", ".join(self._settings.arm_joints)
        if len(self._index.arm):
            return f"{self._path}: no robot_description: name the robot's `urdf` file in the settings"
        refusals = "".join(f"\n  {text}" for text in self._index.refusals())
        return (
            f"{self._path}: expected joint states with {joints}, or tool poses (PoseStamped), found neither: "
            "without the robot's state there are no actions to evaluate; name topics and arm_joints in the settings"
            f"{refusals}"
        )

    def within(self, run: Run, only_run: bool) -> StatesOfRun:
        """The states that belong to a run of pictures."""
        margin = round(self._settings.state_bound * NANOSECONDS)
        window = (0, 2**63 - 1) if only_run else (run.first - margin, run.last + margin)
        source = self._index.arm if self._kinematics is not None else self._index.poses
        parts = (source.between(*window), self._index.fingers.between(*window), self._index.commands.between(*window))
        return StatesOfRun(parts, self._kinematics, self._settings)


class StatesOfRun:
    """States while the clock ran on."""

    def __init__(
        self, parts: tuple[Series, Series, Series], kinematics: Kinematics | None, settings: BagSettings
    ) -> None:
        self._source, self._fingers, self._commands = parts
        self._kinematics, self._settings = kinematics, settings

    def known(self, stamps: Stamps) -> NDArray[np.bool_]:
        """Whether the state is known near each stamp, ns, [T]."""
        if not len(self._source):
            return np.zeros(len(stamps), dtype=bool)
        beside = np.abs(self._source.stamps[nearest_indices(self._source.stamps, stamps)] - stamps)
        return np.asarray(beside <= self._settings.state_bound * NANOSECONDS)

    def joint_positions(self, stamps: Stamps) -> Array | None:
        """Arm joint positions [T, joints], rad, interpolated; None if poses were recorded instead."""
        return None if self._kinematics is None else _interpolated(self._source, stamps)

    def states(self, stamps: Stamps) -> Array:
        """States [T, 7] at these stamps, ns."""
        joints = self.joint_positions(stamps)
        poses = self._recorded_poses(stamps) if joints is None else self._forward(joints)
        return np.concatenate([poses, self._closedness(stamps)], axis=1)

    def commanded_actions(self, stamps: Stamps, states: Array) -> Array:
        """Actions [T - 1, 7] from each state to the end of the command that was sent before the next one.

        Where nothing was sent the arm was meant to stay; the gripper's change is the measured one.
        """
        targets = states[:-1].copy()
        if self._kinematics is not None and len(self._commands):
            latest = np.searchsorted(self._commands.stamps, stamps[1:]) - 1
            sent = (latest >= 0) & (self._commands.stamps[np.maximum(latest, 0)] >= stamps[:-1])
            targets[sent, :6] = self._forward(self._commands.values[latest[sent]])
        targets[:, 6] = states[1:, 6]
        return difference(states[:-1], targets)

    def _forward(self, joints: Array) -> Array:
        if self._kinematics is None:
            raise BagError("recorded poses have no kinematics")
        return np.array([self._kinematics.pose(row) for row in joints]).reshape(-1, 6)

    def _recorded_poses(self, stamps: Stamps) -> Array:
        values = self._source.values[nearest_indices(self._source.stamps, stamps)]
        return np.concatenate([values[:, :3], Rotation.from_quat(values[:, 3:]).as_euler("xyz")], axis=1)

    def _closedness(self, stamps: Stamps) -> Array:
        """Closedness [T, 1]; open where no finger was recorded."""
        if not len(self._fingers):
            return np.zeros((len(stamps), 1))
        positions = _interpolated(self._fingers, stamps)
        return self._settings.gripper().closedness(positions)


def _interpolated(series: Series, stamps: Stamps) -> Array:
    # Relative to the first stamp, so that nanoseconds survive the conversion to floats.
    origin = series.stamps[0]
    times, known = (stamps - origin).astype(np.float64), (series.stamps - origin).astype(np.float64)
    return np.stack([np.interp(times, known, column) for column in series.values.T], axis=1)

"""The frame of a model's states, where it is not the moved tool's: a flange, say, behind the fingertips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from jepa_planner.control_loop import LatentStamps
from jepa_planner.cost import CostFactory, GoalCost
from jepa_planner.goals import GoalSequence
from jepa_planner.kinematics import POSE_DIM, Kinematics
from jepa_planner.mpc import Action, Mpc
from jepa_planner.solvers.base import ROTATION, Array
from jepa_world_model.poses import difference, integrate

Vector = npt.NDArray[np.float64]
_RIGID_M = 1e-6


class StateFrame:
    """Leads from states [..., 7] of the tool to those of a frame that is fixed to it, and back.

    ``offset`` [4, 4] is the pose of that frame in the tool's.
    """

    def __init__(self, offset: Array) -> None:
        self._offset = np.asarray(offset, dtype=np.float64)
        self._back = np.linalg.inv(self._offset)

    @classmethod
    def from_links(cls, tip: Kinematics, link: Kinematics, offset: Sequence[float] = ()) -> StateFrame:
        """The frame at ``offset`` (x y z, m; roll pitch yaw, rad; empty: none) of a link, seen from the tip.

        Raises:
            ValueError: the link moves against the tip, or an offset of other than six numbers.
        """
        if len(offset) not in (0, POSE_DIM):
            raise ValueError(f"state_offset: expected x y z roll pitch yaw, or nothing, got {tuple(offset)}")
        limits = tip.limits()
        middle = np.clip(np.zeros(len(tip.joint_names)), limits.lower, limits.upper)
        between = [np.linalg.inv(tip.transform(at)) @ link.transform(at) for at in (middle, limits.lower)]
        if np.abs(between[0] - between[1]).max() > _RIGID_M:
            raise ValueError("state_link: expected a link that is fixed to tip_link; it moves against it")
        return cls(between[0] @ _matrix(np.asarray(offset or np.zeros(POSE_DIM))))

    def state(self, tool: Array) -> Vector:
        """States [..., 7] of the frame, from the tool's."""
        return _moved(np.asarray(tool, dtype=np.float64), self._offset)

    def tool_action(self, tool: Array, action: Array) -> Vector:
        """The tool's action [7] from ``tool`` [7] that gives the frame's ``action`` [7]."""
        if not np.any(action[ROTATION]):
            return np.asarray(action, dtype=np.float64)
        target = integrate(self.state(tool), action)
        moved = difference(tool, _moved(target, self._back))
        moved[POSE_DIM] = action[POSE_DIM]
        return moved


class FramedCosts:
    """Costs by a model whose states are another frame's, for an observation with the tool's."""

    def __init__(self, frame: StateFrame, costs: CostFactory[LatentStamps, int]) -> None:
        self._frame, self._costs = frame, costs

    def __call__(self, observation: LatentStamps, state: Array, goal: int) -> GoalCost:
        """See CostFactory."""
        seen = replace(observation, states=self._frame.state(observation.states))
        return self._costs(seen, self._frame.state(state), goal)


class FramedMpc(Mpc[LatentStamps, int]):
    """An Mpc with `FramedCosts`, whose plans are the frame's; the actions that it gives are the tool's."""

    def __init__(self, frame: StateFrame, *arguments: Any) -> None:
        """``arguments``: those of `Mpc`."""
        super().__init__(*arguments)
        self._frame = frame

    def step(
        self,
        observation: LatentStamps,
        state: Array,
        goal: GoalSequence[int],
        cost: CostFactory[LatentStamps, int],
    ) -> Action:
        """See Mpc.step."""
        action = super().step(observation, state, goal, cost)
        return replace(action, values=self._frame.tool_action(np.asarray(state), action.values))


def _matrix(pose: Array) -> Vector:
    """Homogeneous matrices [..., 4, 4] of poses [..., 6]."""
    matrices = np.zeros((*pose.shape[:-1], 4, 4))
    angles = pose[..., 3:POSE_DIM].reshape(-1, 3)
    matrices[..., :3, :3] = Rotation.from_euler("xyz", angles).as_matrix().reshape(*pose.shape[:-1], 3, 3)
    matrices[..., :3, 3], matrices[..., 3, 3] = pose[..., :3], 1.0
    return matrices


def _moved(states: Array, by: Array) -> Vector:
    """States [..., 7] of a frame at ``by`` [4, 4] of where ``states`` are."""
    matrices = _matrix(states[..., :POSE_DIM]) @ by
    rotations = Rotation.from_matrix(matrices[..., :3, :3].reshape(-1, 3, 3)).as_euler("xyz")
    angles = rotations.reshape(*states.shape[:-1], 3)
    return np.concatenate([matrices[..., :3, 3], angles, states[..., POSE_DIM:]], axis=-1)

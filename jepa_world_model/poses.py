"""Poses and the actions between them: the one definition that data, models and planner share.

State ``[x, y, z, roll, pitch, yaw, closedness]``: metres, extrinsic xyz Euler angles in radians (R = Rz Ry
Rx), gripper closedness 0 (open) to 1. Action: ``[dx, dy, dz, rotation of R' R^T as extrinsic xyz Euler
angles, d closedness]``. Functions take any leading dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    # Only the batched form needs torch, and loads it itself: the simulator and the planner work without.
    from torch import Tensor

POSE_DIM = 7

Floats = NDArray[np.floating]


def integrate(state: Floats, action: Floats) -> NDArray[np.float64]:
    """The state ``[..., 7]`` that ``action`` ``[..., 7]`` leads to; closedness is clipped to [0, 1].

    Raises:
        ValueError: the last dimension is not 7.
    """
    state, action = _paired(state, action)
    angles = (_rotation(action) * _rotation(state)).as_euler("xyz").reshape(*state.shape[:-1], 3)
    closedness = np.clip(state[..., 6:] + action[..., 6:], 0.0, 1.0)
    return np.concatenate([state[..., :3] + action[..., :3], angles, closedness], axis=-1)


def difference(state: Floats, next_state: Floats) -> NDArray[np.float64]:
    """The action ``[..., 7]`` that leads from ``state`` to ``next_state``, both ``[..., 7]``.

    Raises:
        ValueError: the last dimension is not 7.
    """
    state, next_state = _paired(state, next_state)
    rotation = _rotation(next_state) * _rotation(state).inv()
    action = next_state - state
    action[..., 3:6] = rotation.as_euler("xyz").reshape(*state.shape[:-1], 3)
    return action


def integrate_batch(state: Tensor, action: Tensor) -> Tensor:
    """:func:`integrate` for tensors ``[..., 7]`` on any device, differentiable."""
    import torch

    rotation = rotation_matrix(action[..., 3:6]) @ rotation_matrix(state[..., 3:6])
    closedness = (state[..., 6:] + action[..., 6:]).clamp(0.0, 1.0)
    return torch.cat([state[..., :3] + action[..., :3], _euler_angles(rotation), closedness], dim=-1)


def _paired(first: Floats, second: Floats) -> list[NDArray[np.float64]]:
    """Both as float64, broadcast to one shape."""
    for values in (first, second):
        if np.ndim(values) == 0 or np.shape(values)[-1] != POSE_DIM:
            raise ValueError(f"expected states and actions of {POSE_DIM} numbers, got shape {list(np.shape(values))}")
    return [np.asarray(values, dtype=np.float64) for values in np.broadcast_arrays(first, second)]


def _rotation(pose: NDArray[np.float64]) -> Rotation:
    return Rotation.from_euler("xyz", pose[..., 3:6].reshape(-1, 3))


def rotation_matrix(angles: Tensor) -> Tensor:
    """Rotation matrices ``[..., 3, 3]`` of extrinsic xyz Euler angles ``[..., 3]``, differentiable."""
    import torch

    (sr, sp, sy), (cr, cp, cy) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    rows = [
        cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr,
        sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr,
        -sp, cp * sr, cp * cr,
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _euler_angles(rotation: Tensor) -> Tensor:
    import torch

    roll = rotation[..., 2, 1].atan2(rotation[..., 2, 2])
    pitch = rotation[..., 2, 0].neg().clamp(-1.0, 1.0).asin()
    yaw = rotation[..., 1, 0].atan2(rotation[..., 0, 0])
    return torch.stack([roll, pitch, yaw], dim=-1)

"""What the planner shows in RViz: the workspace, and the tool paths that it imagined and chose."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from jepa_planner.safety import Box, SafetyConfig
from jepa_planner.solvers.base import Array, Iteration
from jepa_world_model.poses import integrate

Vector = npt.NDArray[np.float64]
_CHOSEN = ColorRGBA(r=0.1, g=0.8, b=0.2, a=1.0)
_ELITE = ColorRGBA(r=0.2, g=0.4, b=1.0, a=0.4)
_WORKSPACE = ColorRGBA(r=0.8, g=0.8, b=0.8, a=0.15)
_KEEP_OUT = ColorRGBA(r=1.0, g=0.2, b=0.1, a=0.3)
_ELITES_SHOWN = 16


def plan_markers(
    state: Vector, chosen: Array, last: Iteration | None, safety: SafetyConfig, frame: str, stamp: Time
) -> MarkerArray:
    """All markers of one plan from ``state`` [7].

    Args:
        state: where the plan starts.
        chosen: action of the plan [7].
        last: the solver's last iteration, None when it did not report one.
        safety: where the tool may be, and where the gripper may not.
        frame: base frame of the arm.
        stamp: of the plan.
    """
    markers = [_box(index, box, _KEEP_OUT) for index, box in enumerate(safety.keep_out, start=1)]
    markers.append(_box(0, safety.workspace, _WORKSPACE))
    elites = last.actions[last.elites[:_ELITES_SHOWN]] if last is not None else np.empty((0, 1, 7))
    markers.append(_paths(0, state, elites, _ELITE, width=0.002))
    markers.append(_paths(1, state, np.asarray(chosen)[None, None], _CHOSEN, width=0.006))
    for marker in markers:
        marker.header.frame_id, marker.header.stamp = frame, stamp
    return MarkerArray(markers=markers)


def tool_paths(state: Vector, actions: Array) -> Vector:
    """Tool positions [samples, horizon + 1, 3] of action sequences [samples, horizon, 7] from ``state`` [7]."""
    now = np.broadcast_to(state, (len(actions), 7))
    path = [now[:, :3]]
    for step in range(actions.shape[1]):
        now = integrate(now, actions[:, step])
        path.append(now[:, :3])
    return np.stack(path, axis=1)


def _paths(number: int, state: Vector, actions: Array, color: ColorRGBA, width: float) -> Marker:
    marker = Marker(ns="plan", id=number, type=Marker.LINE_LIST, action=Marker.ADD, color=color)
    marker.scale.x = width
    marker.pose.orientation.w = 1.0
    for path in tool_paths(state, actions):
        for start, end in itertools.pairwise(path):
            marker.points += [_point(start), _point(end)]
    if not marker.points:
        marker.action = Marker.DELETE
    return marker


def _box(number: int, box: Box, color: ColorRGBA) -> Marker:
    marker = Marker(ns="workspace", id=number, type=Marker.CUBE, action=Marker.ADD, color=color)
    low, high = np.asarray(box.low), np.asarray(box.high)
    marker.pose.position = _point((low + high) / 2)
    marker.pose.orientation.w = 1.0
    marker.scale.x, marker.scale.y, marker.scale.z = (float(value) for value in high - low)
    return marker


def _point(position: Vector) -> Point:
    x, y, z = (float(value) for value in position)
    return Point(x=x, y=y, z=z)

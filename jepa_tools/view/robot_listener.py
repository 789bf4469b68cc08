"""Puts what the nodes publish on the board, and passes on what a viewer orders."""

from __future__ import annotations

import base64
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros.msg import PlannerStatus
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from jepa_common.qos_profiles import camera_qos, joint_states_qos, latched_qos, latest_qos
from jepa_perception.image_conversion import compressed_to_rgb, image_to_rgb
from jepa_planner.goal_machine import State
from jepa_tools.operation.ros_client import RosClient
from jepa_tools.view.arm_shape import ArmShape, Body
from jepa_tools.view.board import Board
from jepa_tools.view.config import ViewConfig
from jepa_world_model.picture_strip import jpeg

Picture = npt.NDArray[np.uint8]

ORDERS = ("pause", "resume", "step", "stop")
"""Services of the planner that take no more than their name."""

SERVICE_SECONDS = 3.0
_ARM_SECONDS = 0.07  # between two drawings of the arm
_KEPT_FRAMES = 16  # a person sees a picture for a while before it is chosen as a goal
_LARGEST_SIDE = 640
_STATUS_FIELDS = (
    "reason", "step", "sub_goal", "sub_goals", "energy", "predicted_energy", "surprise", "plan_seconds",
    "image_age", "joint_state_age", "model",
)  # fmt: skip
_CURVES = ("energy", "predicted_energy", "surprise", "plan_seconds")


class RobotListener:
    """Subscriptions of one ROS client. Everything runs on the thread that polls the client."""

    def __init__(self, client: RosClient, board: Board, config: ViewConfig) -> None:
        """Listens at once; to cameras and imagined futures only while somebody looks at the board."""
        self._client, self._board, self._config = client, board, config
        self._shape: ArmShape | None = None
        self._positions: dict[str, float] = {}
        self._arm_moved, self._arm_shown_at = False, 0.0
        self._frames: OrderedDict[int, Picture] = OrderedDict()
        self._frame_numbers = itertools.count(1)
        self._pictures_from: list[Callable[[], None]] = []
        self._shown_at: dict[str, float] = {}
        for message_type, suffix in ((Image, ""), (CompressedImage, "/compressed")):
            client.subscribe(message_type, f"goal_image{suffix}", self._on_goal, latched_qos())
        client.subscribe(PlannerStatus, "planner_status", self._on_status, latest_qos())
        client.subscribe(MarkerArray, "planner_markers", self._on_markers, latest_qos())
        client.subscribe(JointState, "joint_states", self._on_joint_states, joint_states_qos())
        client.subscribe(String, "robot_description", self._on_description, latched_qos())
        client.subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, latest_qos())

    def poll(self) -> None:
        """Takes in what has come. To be called often."""
        if self._board.is_watched != bool(self._pictures_from):
            self._follow_pictures()
        self._client.poll()
        self._show_arm()

    def order(self, name: str) -> str:
        """Calls one of the planner's services `ORDERS`; returns its answer.

        Raises:
            RosTimeoutError: no planner answers.
            ValueError: it refused, or there is no such order.
        """
        if name not in ORDERS:
            raise ValueError(f"expected one of {', '.join(ORDERS)}, got {name!r}")
        answer = self._client.call(Trigger, f"planner/{name}", Trigger.Request(), SERVICE_SECONDS)
        if not answer.success:
            raise ValueError(answer.message)
        return str(answer.message)

    def frame(self, number: int) -> Picture:
        """A picture that the first camera showed just now. Raises ValueError when it is kept no longer."""
        if number not in self._frames:
            raise ValueError("that picture is too old: choose the one that is shown now")
        return self._frames[number]

    # --- pictures -------------------------------------------------------------------------------------------

    def _follow_pictures(self) -> None:
        """Subscribes while somebody looks: cameras fill networks, and the predictor draws for listeners only."""
        if self._pictures_from:
            for end in self._pictures_from:
                end()
            self._pictures_from = []
            return
        for number, topic in enumerate(self._config.cameras):
            show = partial(self._on_camera, topic, number == 0)
            for message_type, suffix in ((Image, ""), (CompressedImage, "/compressed")):
                end = self._client.subscribe(message_type, f"{topic}{suffix}", show, camera_qos())
                self._pictures_from.append(end)
        imagined = self._client.subscribe(CompressedImage, "imagined/compressed", self._on_imagined, latest_qos())
        self._pictures_from.append(imagined)

    def _on_camera(self, topic: str, is_first: bool, message: Image | CompressedImage) -> None:
        now = time.monotonic()
        if now - self._shown_at.get(topic, 0.0) < 1.0 / self._config.rate:
            return
        self._shown_at[topic] = now
        name = f"camera {topic}"
        try:
            picture = _rgb(message)
        except ValueError as error:
            self._board.post(name, {"error": str(error)})
            return
        number = self._keep(picture) if is_first else 0
        self._board.post(name, {"frame": number}, jpeg(_fitting(picture)))

    def _keep(self, picture: Picture) -> int:
        number = next(self._frame_numbers)
        self._frames[number] = picture
        while len(self._frames) > _KEPT_FRAMES:
            self._frames.popitem(last=False)
        return number

    def _on_goal(self, message: Image | CompressedImage) -> None:
        try:
            self._board.post("goal", {}, jpeg(_fitting(_rgb(message))))
        except ValueError as error:
            self._board.post("goal", {"error": str(error)})

    def _on_imagined(self, message: CompressedImage) -> None:
        self._board.post("imagined", {}, bytes(message.data))

    # --- the planner ----------------------------------------------------------------------------------------

    def _on_status(self, message: PlannerStatus) -> None:
        values = {name: getattr(message, name) for name in _STATUS_FIELDS}
        state = State(message.state).name.lower() if message.state in iter(State) else f"state {message.state}"
        self._board.post("status", {"state": state, **values, "action": list(message.action)})
        if message.state in (State.PLANNING, State.HOLDING, State.PAUSED, State.REACHED, State.ABORTED):
            self._board.add_point({"t": round(time.time(), 3), **{name: values[name] for name in _CURVES}})

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            self._board.post(f"health {status.name}", {"level": level, "message": status.message})

    # --- the arm --------------------------------------------------------------------------------------------

    def _on_description(self, message: String) -> None:
        try:
            self._shape = ArmShape(message.data)
        except ValueError as error:
            self._board.post("shape", {"error": f"robot_description: {error}"})
            return
        missing = sorted(set(self._shape.missing))
        self._board.post("shape", {"bodies": [_drawn(body) for body in self._shape.bodies], "missing": missing})
        self._arm_moved = True

    def _on_joint_states(self, message: JointState) -> None:
        finite = {name: value for name, value in zip(message.name, message.position) if np.isfinite(value)}  # noqa: B905
        self._positions.update(finite)
        self._arm_moved = True

    def _show_arm(self) -> None:
        now = time.monotonic()
        if self._shape is None or not self._arm_moved or now - self._arm_shown_at < _ARM_SECONDS:
            return
        self._arm_moved, self._arm_shown_at = False, now
        places = self._shape.placements(self._positions)
        self._board.post("arm", {"places": [_rounded(places.get(body.link)) for body in self._shape.bodies]})

    def _on_markers(self, message: MarkerArray) -> None:
        lines = [self._line(marker) for marker in message.markers if marker.action == Marker.ADD]
        self._board.post("paths", {"lines": [line for line in lines if line["points"]]})

    def _line(self, marker: Marker) -> dict[str, Any]:
        points = np.array(list(_segments(marker)), dtype=np.float64).reshape(-1, 3)
        if self._shape is not None:
            points = self._shape.in_first_frame(points, marker.header.frame_id, self._positions)
        color = marker.color
        return {
            "name": marker.ns,
            "points": points.round(4).ravel().tolist(),
            "color": [color.r, color.g, color.b, color.a],
            "width": float(marker.scale.x) if marker.type != Marker.CUBE else 0.0,
        }


def _rgb(message: Image | CompressedImage) -> Picture:
    return compressed_to_rgb(message) if isinstance(message, CompressedImage) else image_to_rgb(message)


def _fitting(picture: Picture) -> Picture:
    """Not larger than a page shows it."""
    share = _LARGEST_SIDE / max(picture.shape[:2])
    if share >= 1:
        return picture
    size = (round(picture.shape[1] * share), round(picture.shape[0] * share))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _drawn(body: Body) -> dict[str, Any]:
    """JSON values: numbers as base64, little-endian, which browsers take as they are."""
    return {
        "vertices": base64.b64encode(body.vertices.astype("<f4").tobytes()).decode(),
        "triangles": base64.b64encode(body.triangles.astype("<u4").tobytes()).decode(),
        "color": list(body.color),
    }


def _rounded(place: npt.NDArray[np.float64] | None) -> list[float]:
    return [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0] if place is None else place.round(5).tolist()


def _segments(marker: Marker) -> Iterator[tuple[float, float, float]]:
    """Ends of line segments, two by two; a cube's are its edges. Nothing for other markers."""
    if marker.type == Marker.LINE_LIST:
        yield from ((point.x, point.y, point.z) for point in marker.points)
    elif marker.type == Marker.CUBE:
        center = np.array([marker.pose.position.x, marker.pose.position.y, marker.pose.position.z])
        half = np.array([marker.scale.x, marker.scale.y, marker.scale.z]) / 2
        corners = [np.array(signs) for signs in itertools.product((-1, 1), repeat=3)]
        for first, second in itertools.combinations(corners, 2):
            if np.count_nonzero(first != second) == 1:
                yield tuple(center + half * first)
                yield tuple(center + half * second)

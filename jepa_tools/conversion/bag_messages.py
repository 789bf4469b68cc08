"""Messages of a bag that is made without ROS: pictures, joint states or tool poses, and the robot's description."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jepa_tools.bags import BagSettings
from jepa_tools.bags.resampling import NANOSECONDS
from jepa_tools.bags.topics import IMAGE, JOINT_STATE, POSE, STRING
from jepa_tools.recording.bag_writer import BagWriter
from jepa_tools.recording.message_types import MessageTypes

IMAGE_TOPIC, JOINT_TOPIC, POSE_TOPIC, DESCRIPTION_TOPIC = "/image", "/joint_states", "/tool_pose", "/robot_description"


@dataclass
class BagMessages:
    """Writes messages of the few types that a bag for the world model needs. Stamps in ns; not thread-safe.

    Attributes:
        writer: where they go, inside its `with` block.
        types: the writer's definitions.
        settings: names of the robot's joints.
        known: topics that were announced.
    """

    writer: BagWriter
    types: MessageTypes
    settings: BagSettings
    known: set[str] = field(default_factory=set)

    def describe_robot(self, urdf: str, stamp: int) -> None:
        """The robot's URDF; to be written once."""
        self._write(DESCRIPTION_TOPIC, STRING, stamp, data=urdf)

    def write_state(self, stamp: int, state: NDArray[np.float64], joints: NDArray[np.float64] | None) -> None:
        """Joint positions [joints], or the pose of the state [7] where they are not known; and the fingers."""
        gripper = self.settings.gripper()
        fingers = np.full(len(gripper.joints), gripper.value(state[6]))
        names, positions = [*gripper.joints], fingers
        if joints is None:
            self._write(
                POSE_TOPIC,
                POSE,
                stamp,
                header=self._header(stamp),
                pose=self._pose(np.asarray(state, dtype=np.float64)),
            )
        else:
            names, positions = [*self.settings.arm_joints, *names], np.concatenate([joints, fingers], dtype=np.float64)
        empty = np.zeros(0)
        header = self._header(stamp)
        self._write(
            JOINT_TOPIC, JOINT_STATE, stamp, header=header, name=names, position=positions, velocity=empty, effort=empty
        )

    def write_picture(self, stamp: int, picture: NDArray[np.uint8]) -> None:
        """A camera image of a picture uint8 [H, W, 3] RGB."""
        height, width, _ = picture.shape
        self._write(
            IMAGE_TOPIC,
            IMAGE,
            stamp,
            header=self._header(stamp),
            height=height,
            width=width,
            encoding="rgb8",
            is_bigendian=0,
            step=3 * width,
            data=picture.reshape(-1),
        )

    def _write(self, topic: str, kind: str, stamp: int, **fields: Any) -> None:
        if topic not in self.known:
            self.writer.add_topic(topic, kind)
            self.known.add(topic)
        data = self.types.store.serialize_cdr(self._new(kind, **fields), kind)
        self.writer.write(topic, bytes(data), stamp)

    def _new(self, kind: str, **fields: Any) -> Any:
        self.types.require(kind)
        return self.types.store.types[kind](**fields)

    def _header(self, stamp: int) -> Any:
        seconds, nanoseconds = divmod(stamp, NANOSECONDS)
        time = self._new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        return self._new("std_msgs/msg/Header", stamp=time, frame_id=self.settings.base_link)

    def _pose(self, state: NDArray[np.float64]) -> Any:
        x, y, z, w = Rotation.from_euler("xyz", state[3:6]).as_quat()
        position = self._new("geometry_msgs/msg/Point", x=state[0], y=state[1], z=state[2])
        turn = self._new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)
        return self._new("geometry_msgs/msg/Pose", position=position, orientation=turn)

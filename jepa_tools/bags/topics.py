"""Finds out which topic of a bag is which, where only one can be meant."""

from __future__ import annotations

from dataclasses import dataclass

from jepa_tools.bags.bag_file import BagError, OpenBag
from jepa_tools.bags.settings import BagSettings

IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JOINT_STATE, POSE = "sensor_msgs/msg/JointState", "geometry_msgs/msg/PoseStamped"
TRAJECTORY, STRING = "trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/String"

_NO_CAMERA = ("goal", "imagined", "depth", "mask", "debug", "overlay")
"""Images whose topic says so are not what the camera saw."""

_TOOL_POSES = ("tool_pose", "ee_pose", "end_effector_pose", "current_pose")
"""Poses of other names may be of anything."""

_TRANSPORTS = ("compressed", "compressedDepth", "zstd", "ffmpeg", "theora")


@dataclass(frozen=True)
class BagTopics:
    """Topics by meaning; empty where the bag has none."""

    image: str
    joint_states: str
    tool_pose: str
    commands: str
    robot_description: str


def choose_topics(bag: OpenBag, settings: BagSettings) -> BagTopics:
    """The topics that the settings name, or the only ones that can be meant.

    Raises:
        BagError: no image, several that could be meant, or a named topic that is not there.
    """
    return BagTopics(
        _image_topic(bag, settings.image),
        _topic(bag, settings.joint_states, "joint_states", (JOINT_STATE,), ("joint_states",)),
        _topic(bag, settings.tool_pose, "tool_pose", (POSE,), _TOOL_POSES, True),
        _topic(bag, settings.commands, "commands", (TRAJECTORY,), ("joint_trajectory",)),
        _topic(bag, settings.robot_description, "robot_description", (STRING,), ("robot_description",), True),
    )


def _image_topic(bag: OpenBag, named: str) -> str:
    topics = bag.topics_of(IMAGE, COMPRESSED_IMAGE)
    if named:
        return _named(bag, named, "image", topics)
    cameras = {topic: _camera(topic) for topic in topics if not _is_no_camera(topic)}
    if not cameras:
        raise BagError(f"{bag.path}: expected a camera's images, found none among {', '.join(bag.topics)}")
    if len(set(cameras.values())) > 1:
        raise BagError(f"{bag.path}: several cameras, {', '.join(cameras)}: name one as `image` in the settings")
    # The same picture twice: the raw one is exact.
    return min(cameras, key=lambda topic: (topic != cameras[topic], topic))


def _camera(topic: str) -> str:
    """The topic without the name of a transport at its end."""
    parent, _, last = topic.rpartition("/")
    return parent if last in _TRANSPORTS else topic


def _is_no_camera(topic: str) -> bool:
    return any(word in topic.lower() for word in _NO_CAMERA) or topic.endswith("compressedDepth")


def _topic(
    bag: OpenBag, named: str, meaning: str, types: tuple[str, ...], usual: tuple[str, ...], only_usual: bool = False
) -> str:
    """The named topic, the only one of its type, or of several the one with a usual name; empty if there is none."""
    topics = bag.topics_of(*types)
    if named:
        return _named(bag, named, meaning, topics)
    with_usual_name = [topic for topic in topics if topic.rpartition("/")[2] in usual]
    candidates = topics if len(topics) == 1 and not only_usual else with_usual_name
    if len(candidates) > 1 or (len(topics) > 1 and not candidates and not only_usual):
        found = ", ".join(candidates or topics)
        raise BagError(f"{bag.path}: several topics could be the {meaning}: {found}; name one in the settings")
    return candidates[0] if candidates else ""


def _named(bag: OpenBag, named: str, meaning: str, topics: list[str]) -> str:
    if named not in topics:
        raise BagError(
            f"{bag.path}: expected the {meaning} on {named}, found {', '.join(topics) or 'none of its type'}"
        )
    return named

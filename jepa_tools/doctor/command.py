"""`jepa doctor`: looks at the installation and at what runs, and says what to do about what is wrong."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

from jepa_common.resources import find_resource
from jepa_tools.doctor.finding import Finding, Status, as_json, as_text, problem, unknown
from jepa_tools.doctor.software import accelerator, message_libraries, python_and_packages, ros_installation
from jepa_tools.doctor.weights import model_loads, stored_weights


@dataclass(frozen=True)
class DoctorConfig:
    """Looks at the installation and, with ROS, at what runs. Exit code 1 when there is a problem.

    Attributes:
        model: Checkpoint that the nodes are to use, a path or a name in models/checkpoints.
        device: Where the model is to run, such as cpu or cuda; empty: wherever it can.
        namespace: Of the nodes to look at.
        image_topic: Where the camera's pictures are.
        joint_states_topic: Where the joint states are.
        joint_trajectory_topic: Where the arm's controller listens.
        seconds: How long to listen to what runs; 0 looks at the installation only.
        json: Print JSON instead of text.
    """

    model: str = "franka-table-small"
    device: str = ""
    namespace: str = ""
    image_topic: str = "image"
    joint_states_topic: str = "joint_states"
    joint_trajectory_topic: str = "joint_trajectory"
    seconds: float = 3.0
    json: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seconds <= 600:
            raise ValueError(f"seconds: expected 0 to 600, got {self.seconds}")

    @property
    def remapped(self) -> dict[str, str]:
        """Topics by the names that the nodes know them by."""
        return {name: getattr(self, f"{name}_topic") for name in ("image", "joint_states", "joint_trajectory")}


def doctor(config: DoctorConfig) -> int:
    """Examines, prints, and returns 1 when there is a problem, 0 otherwise. Changes nothing and moves nothing."""
    findings = list(examine(config))
    print(as_json(findings) if config.json else as_text(findings))
    return int(any(finding.status is Status.PROBLEM for finding in findings))


def examine(config: DoctorConfig) -> Iterator[Finding]:
    """All findings, the installation's first."""
    yield from python_and_packages()
    yield from accelerator(config.device)
    yield from ros_installation()
    yield from message_libraries()
    yield from _weights()
    yield from model_loads(config.model)
    yield from _running_system(config)


def _weights() -> Iterator[Finding]:
    try:
        folder = find_resource("models", "checkpoints")
    except FileNotFoundError as error:
        yield problem("weights", str(error), "install the package again")
        return
    yield from stored_weights(folder)


def _running_system(config: DoctorConfig) -> Iterator[Finding]:
    if importlib.util.find_spec("rclpy") is None or importlib.util.find_spec("jepa_ros") is None:
        yield unknown(
            "running system", "needs ROS and this package's interfaces", "source ROS and the workspace, or `make`"
        )
    elif config.seconds == 0:
        yield unknown("running system", "not looked at (--seconds 0)")
    else:
        from jepa_tools.doctor.graph import GraphExaminer
        from jepa_tools.operation.ros_client import RosClient

        with RosClient("jepa_doctor") as client:
            examiner = GraphExaminer(client, config.namespace, _image_size(config.model), config.remapped)
            yield from examiner.examine(config.seconds)


def _image_size(model: str) -> int:
    """Pixels that the model sees; 0 when that is not known."""
    if importlib.util.find_spec("cv2") is None:
        return 0
    from jepa_world_model.checkpoint_errors import CheckpointError
    from jepa_world_model.checkpoint_header import open_header

    try:
        return open_header(model).card.image_size
    except (CheckpointError, OSError, ValueError):
        return 0

"""The doctor finds what is wrong, says what to do, and goes on without ROS."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from jepa_common.resources import find_resource
from jepa_planner.robot_urdf import RobotUrdf
from jepa_tools.doctor.command import DoctorConfig, doctor, examine
from jepa_tools.doctor.finding import Status, as_json, as_text, ok, problem
from jepa_tools.doctor.robot import Stream, judge_joints, judge_picture, judge_stream
from jepa_tools.doctor.software import accelerator, message_libraries, ros_installation
from jepa_tools.doctor.weights import model_loads, stored_weights

CHECKPOINTS = find_resource("models", "checkpoints")


def statuses(findings) -> list[Status]:
    return [finding.status for finding in findings]


def test_this_installation_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(DoctorConfig(seconds=0, json=True)) == 0
    findings = {entry["subject"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert findings["jepa_ros.msg.Latent"]["status"] == "ok"
    assert findings["franka-table-small.safetensors"]["status"] == "ok"
    assert findings["running system"]["status"] == "unknown"


def test_a_problem_makes_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(DoctorConfig(model="no-such-model", seconds=0)) == 1
    printed = capsys.readouterr().out
    assert "problem  model" in printed and "-> name another with --model" in printed


def test_text_and_json_say_the_same() -> None:
    findings = [ok("a", "fine"), problem("b", "broken", "mend it")]
    assert as_text(findings).splitlines()[-1] == "1 ok, 1 problem"
    assert [entry["status"] for entry in json.loads(as_json(findings))] == ["ok", "problem"]


def test_without_ros_it_says_what_it_could_not_check(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("rclpy", "jepa_ros") else find(name))
    findings = {finding.subject: finding for finding in examine(DoctorConfig(seconds=1))}
    for subject in ("ROS", "ROS messages", "running system"):
        assert findings[subject].status is Status.UNKNOWN
    assert findings["numpy"].status is Status.OK


def test_changed_weights_are_found(tmp_path: Path) -> None:
    name = "franka-table-small.safetensors"
    weights = Path(shutil.copy(CHECKPOINTS / name, tmp_path))
    index = json.loads((CHECKPOINTS / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({name: index[name]}))
    assert set(statuses(stored_weights(tmp_path))) == {Status.OK}
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    (finding,) = (finding for finding in stored_weights(tmp_path) if finding.subject == weights.name)
    assert finding.status is Status.PROBLEM and "git checkout models" in finding.remedy
    weights.write_text("version https://git-lfs")
    assert "a pointer" in next(iter(stored_weights(tmp_path))).found
    weights.rename(tmp_path / "other.safetensors")
    assert statuses(stored_weights(tmp_path)) == [Status.PROBLEM, Status.WARNING]
    (tmp_path / "index.json").write_text("{")
    assert statuses(stored_weights(tmp_path)) == [Status.PROBLEM]
    (tmp_path / "index.json").unlink()
    assert statuses(stored_weights(tmp_path)) == [Status.PROBLEM]


def test_a_model_that_does_not_open_is_named() -> None:
    assert statuses(model_loads("no-such-model")) == [Status.PROBLEM]
    assert Status.PROBLEM not in statuses(model_loads("franka-table-small"))


def test_a_missing_gpu_is_a_problem_only_where_one_is_asked_for() -> None:
    import torch

    if torch.cuda.is_available():
        assert statuses(accelerator("cuda")) == [Status.OK]
    else:
        assert statuses(accelerator("cuda")) == [Status.PROBLEM]
        assert statuses(accelerator("")) == [Status.UNKNOWN]


def test_a_middleware_that_is_not_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_imaginary_cpp")
    findings = {finding.subject: finding for finding in ros_installation()}
    assert findings["ROS middleware"].status is Status.PROBLEM
    assert "unset RMW_IMPLEMENTATION" in findings["ROS middleware"].remedy


def test_another_distribution_is_a_warning() -> None:
    findings = {finding.subject: finding for finding in ros_installation({"ROS_DISTRO": "humble"})}
    assert findings["ROS distribution"].status is Status.WARNING


def test_messages_that_do_not_load_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from jepa_tools.doctor import software

    monkeypatch.setattr(
        software, "_MESSAGE_PROBE", "import sys; print('numpy.core failed', file=sys.stderr); sys.exit(3)"
    )
    findings = list(message_libraries())
    assert statuses(findings) == [Status.PROBLEM, Status.PROBLEM]
    assert "numpy<2" in findings[0].remedy and "numpy.core failed" in findings[0].found


def stream(rate: float, age: float, count: int = 20) -> Stream:
    stamps = 100.0 + np.arange(count) / rate
    return Stream(list(stamps + age), list(stamps))


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (stream(10.0, 0.03), [Status.OK, Status.OK]),
        (stream(2.0, 0.03), [Status.WARNING, Status.OK]),
        (stream(10.0, 3.0), [Status.OK, Status.PROBLEM]),
        (stream(10.0, -1.6e9), [Status.OK, Status.PROBLEM]),
        (Stream([], []), [Status.PROBLEM]),
        (Stream([1.0, 1.1], [0.0, 0.0]), [Status.PROBLEM]),
    ],
    ids=["good", "slow", "old", "another clock", "silent", "not stamped"],
)
def test_streams_are_judged(messages: Stream, expected: list[Status]) -> None:
    assert statuses(judge_stream("image", messages, 4.0, 0.5, "look at the driver")) == expected


def test_pictures_are_judged() -> None:
    assert statuses(judge_picture(640, 480, "rgb8", 256)) == [Status.OK]
    assert statuses(judge_picture(160, 120, "rgb8", 256)) == [Status.WARNING]
    assert statuses(judge_picture(1920, 480, "rgb8", 256)) == [Status.WARNING]


def test_joint_names_are_compared() -> None:
    urdf = find_resource("models", "franka", "panda.urdf").read_text()
    names = RobotUrdf(urdf).moving_joints
    assert "panda_joint1" in names and "panda_hand_tcp_joint" not in names
    assert statuses(judge_joints(urdf, names, names[:7])) == [Status.OK]
    assert statuses(judge_joints(urdf, names, [])) == [Status.UNKNOWN]
    found = list(judge_joints(urdf, ["fr3_joint1"], ["fr3_joint1"]))
    assert statuses(found) == [Status.WARNING, Status.PROBLEM] and "arm.joints" in found[1].remedy
    assert statuses(judge_joints("<robot", [], [])) == [Status.PROBLEM]


def test_a_configuration_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds"):
        DoctorConfig(seconds=-1.0)


# --- a running system -------------------------------------------------------------------------------------------


def examined(namespace: str = "", seconds: float = 2.0):
    from jepa_tools.doctor.graph import GraphExaminer
    from jepa_tools.operation.ros_client import RosClient

    with RosClient("jepa_doctor") as client:
        return list(GraphExaminer(client, namespace, 96, {"image": "camera/image"}).examine(seconds))


def test_an_empty_graph_is_no_problem(ros_domain: int) -> None:
    (finding,) = examined("nobody_is_here", seconds=0.1)
    assert finding.status is Status.UNKNOWN and "ROS_DOMAIN_ID" in finding.remedy


def test_a_running_system_is_examined(nodes) -> None:
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image, JointState
    from std_msgs.msg import String
    from trajectory_msgs.msg import JointTrajectory

    from jepa_common.qos_profiles import latched_qos, latest_qos
    from jepa_common.stamps import to_stamp

    urdf = find_resource("models", "franka", "panda.urdf").read_text()
    client = nodes.client
    lossy = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    pictures = client.create_publisher(Image, "camera/image", lossy)
    joints = client.create_publisher(JointState, "joint_states", 10)
    client.create_publisher(String, "robot_description", latched_qos()).publish(String(data=urdf))
    # A controller whose commands cannot arrive: it wants reliable ones from a lossy publisher.
    client.create_publisher(JointTrajectory, "joint_trajectory", lossy)
    client.create_subscription(JointTrajectory, "joint_trajectory", lambda _: None, latest_qos())

    def publish() -> None:
        now = to_stamp(time.time_ns())
        picture = Image(width=64, height=64, encoding="rgb8")
        state = JointState(name=list(RobotUrdf(urdf).moving_joints))
        picture.header.stamp = state.header.stamp = now
        pictures.publish(picture)
        joints.publish(state)

    client.create_timer(0.02, publish)
    findings = {finding.subject: finding for finding in examined()}
    assert findings["/camera/image"].status is Status.OK
    assert findings["camera picture"].status is Status.WARNING  # smaller than the model's input
    assert "test_client -> test_client gets nothing" in findings["/joint_trajectory QoS"].found
    assert findings["/latent"].status is Status.PROBLEM
    assert findings["/joint_states clock"].status in (Status.OK, Status.PROBLEM)  # a busy machine delivers late
    assert findings["planner's joints"].status is Status.UNKNOWN

"""The planner node and joint states as robots send them: other grippers, fingers apart, values that are no numbers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from jepa_ros.action import ReachGoal
from jepa_ros.msg import PlannerStatus
from rcl_interfaces.srv import GetParameters, ListParameters
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from jepa_common.stamps import to_stamp

sys.path.insert(0, str(Path(__file__).parent))
from table_rig import URDF, Rig

from jepa_sim.robot_description import ARM_JOINTS

TURNING = {
    "arm.finger_joints": ["knuckle"],
    "arm.finger_open": 0.0,
    "arm.finger_closed": 0.8,
    "arm.finger_reach": 0.043,
}


class TurningGripperRig(Rig):
    """A rig whose gripper has one joint that grows as it closes, in messages of its own."""

    knuckle = 0.6
    velocity = float("nan")

    def _drive(self) -> None:
        if not self.driver:
            return
        now = time.time()
        desired = self.controller.sample(now)
        self._tell(now, ARM_JOINTS, desired.positions, [*desired.velocities[:6], self.velocity])
        self._tell(now, ("knuckle",), [self.knuckle], [self.velocity])

    def _tell(self, now: float, names: Sequence[str], positions: Sequence[float], velocities: Sequence[float]) -> None:
        message = JointState(name=list(names), position=list(positions), velocity=list(velocities))
        message.header.stamp = to_stamp(round(now * 1e9))
        self.joints.publish(message)

    def _score(self, request, response):
        self.closedness = request.states[6]
        return super()._score(request, response)


@pytest.fixture
def make_rig(nodes, tiny_model) -> Iterator[Callable[..., TurningGripperRig]]:
    rigs: list[TurningGripperRig] = []

    def make(**settings) -> TurningGripperRig:
        rigs.append(TurningGripperRig(nodes, tiny_model, **settings))
        return rigs[-1]

    yield make
    for made in rigs:
        made.close()


def test_turning_gripper_apart_from_the_arm_is_planned_with_and_commanded(make_rig) -> None:
    rig = make_rig(**TURNING)
    result = rig.result(rig.send(rig.request(gripper=1.0)))
    assert result.error_code == ReachGoal.Result.REACHED
    assert rig.closedness == pytest.approx(0.75)
    assert rig.gripper[0].joint_names == ["knuckle"] and rig.gripper[0].points[0].positions[0] == pytest.approx(0.8)
    values = rig.planner.diagnose().values
    assert "velocity of" in values["joint_states"] and "gripper" not in values


def test_gripper_of_which_nothing_came_is_reported(make_rig) -> None:
    rig = make_rig()
    assert rig.planner.diagnose().values["gripper"].startswith("counts as open: none of panda_finger_joint1")


def test_idle_planner_says_why_it_would_hold(make_rig) -> None:
    rig = make_rig(start=False, **TURNING)
    rig.camera = False
    rig.nodes.run(rig.planner.start)
    rig.wait_for_state(PlannerStatus.IDLE, "camera image")


def test_description_that_cannot_be_used_is_the_reason_until_a_good_one_comes(make_rig) -> None:
    rig = make_rig(start=False)
    rig.description.publish(String(data="<robot xmlns:xacro='http://www.ros.org/wiki/xacro'><xacro:arm/></robot>"))
    rig.nodes.run(rig.planner.start)
    rig.wait_for(lambda: "robot_description: not a URDF: it is xacro" in rig.status.reason, "the reason")
    rig.description.publish(String(data=URDF))
    rig.wait_for(lambda: rig.status.state == PlannerStatus.IDLE and not rig.status.reason, "an idle planner")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({**TURNING, "arm.finger_reach": 0.0}, "arm.finger_reach"),
        ({**TURNING, "arm.finger_closed": 0.0}, "arm.finger_closed: a gripper needs two different"),
        ({"arm.finger_travel": 0.07}, "arm.finger_travel does not tell which end is open: give arm.finger_open and"),
    ],
    ids=["no reach", "one end", "an earlier version's name"],
)
def test_gripper_that_is_not_described_is_refused_in_configure(make_rig, settings, word) -> None:
    rig = make_rig(start=False, **settings)
    assert rig.planner.trigger_configure().name == "FAILURE"
    assert word in rig.planner.last_failure


def test_all_parameters_are_told_at_once(make_rig) -> None:
    rig = make_rig(start=False)
    names = rig.nodes.call(ListParameters, "planner/list_parameters", ListParameters.Request()).result.names
    values = rig.nodes.call(GetParameters, "planner/get_parameters", GetParameters.Request(names=names)).values
    assert len(values) == len(names) > 60
    told = dict(zip(names, values, strict=True))
    assert list(told["safety.keep_out"].double_array_value) == [] and told["solver.samples"].integer_value == 64


def test_parameter_that_must_not_have_its_value_ends_the_process_with_its_name(processes) -> None:
    process = processes.start("jepa_planner.planner_node", ros_parameters={"max_silence": -1.0})
    assert process.wait(60) == 2
    assert "max_silence" in processes.output(process)
    assert "Traceback" not in processes.output(process)

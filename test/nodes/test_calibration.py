"""The planner's calibrate service moves the arm through the safety filter, writes the file and uses it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from jepa_ros.srv import ScoreActions
from rclpy.parameter import Parameter
from scipy.spatial.transform import Rotation
from std_srvs.srv import Trigger

from jepa_common.stamps import to_nanoseconds
from jepa_planner.camera_calibration import load_rotation

sys.path.insert(0, str(Path(__file__).parent))
from table_rig import KINEMATICS, Rig

TURN = Rotation.from_euler("z", 40.0, degrees=True)
QUICK = {"calibration.moves": 12, "calibration.steps": 2}


class TurnedRig(Rig):
    """A rig whose predictor explains pictures by actions along axes that are turned."""

    def _score(self, request: ScoreActions.Request, response: ScoreActions.Response) -> ScoreActions.Response:
        self.requests += 1
        response.model, response.surprise = self.model_id, float("nan")
        start = np.asarray(request.states[-7:-4])
        # The goal is named by the stamp of its picture: what the arm looked like then.
        joints = self.controller.sample(to_nanoseconds(request.goal_stamp) / 1e9).positions
        offset = TURN.inv().apply(KINEMATICS.pose(joints)[:3] - start)
        actions = np.reshape(request.actions, (request.samples, request.horizon, request.action_dim))
        response.energies = np.linalg.norm(actions[:, 0, :3] - offset, axis=-1).astype(np.float32)
        response.current_energy = float(np.linalg.norm(offset))
        return response


@pytest.fixture
def make_rig(nodes, tiny_model) -> Iterator[Callable[..., TurnedRig]]:
    rigs: list[TurnedRig] = []

    def make(**settings) -> TurnedRig:
        rigs.append(TurnedRig(nodes, tiny_model, **QUICK, **settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


def test_calibrates_writes_and_uses_the_rotation(make_rig, nodes, tmp_path: Path) -> None:
    path = tmp_path / "camera.yaml"
    rig = make_rig(camera_calibration=str(path))
    answer = nodes.call(Trigger, "/planner/calibrate", Trigger.Request(), timeout=240.0)
    assert answer.success, answer.message
    assert str(path) in answer.message and not rig.refused
    rotation = Rotation.from_matrix(load_rotation(path, rig.model_id))
    assert np.degrees((rotation * TURN.inv()).magnitude()) < 15.0
    assert rig.planner._make_mpc(rig.planner.parameters())._config.camera_rotation


def test_refuses_while_a_goal_is_pursued(make_rig, nodes) -> None:
    rig = make_rig()
    rig.predictor = False  # the goal is held, and stays
    rig.show_goal()
    rig.wait_for(lambda: rig.planner._loop.machine.goal is not None, "a goal")
    answer = nodes.call(Trigger, "/planner/calibrate", Trigger.Request())
    assert not answer.success and "stop it first" in answer.message


def test_refuses_in_a_dry_run(make_rig, nodes) -> None:
    make_rig(dry_run=True)
    answer = nodes.call(Trigger, "/planner/calibrate", Trigger.Request())
    assert not answer.success and "dry_run" in answer.message


def test_a_damaged_file_keeps_the_planner_from_starting(nodes, tiny_model, tmp_path: Path) -> None:
    from jepa_planner.planner_node import PlannerNode

    path = tmp_path / "camera.yaml"
    path.write_text("camera_calibration: {rotation: [[2, 0, 0], [0, 1, 0], [0, 0, 1]]}")
    planner = nodes.make(PlannerNode, model=str(tiny_model.path), camera_calibration=str(path))
    with pytest.raises(RuntimeError, match="rotation matrix"):
        nodes.run(planner.start)
    assert planner.set_parameters([Parameter("camera_calibration", value="")])[0].successful
    nodes.run(planner.start)

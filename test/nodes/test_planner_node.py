"""The planner node on real ROS: goals by topic and by action, services, and every input that can go wrong."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import rclpy
from jepa_ros.action import ReachGoal
from jepa_ros.msg import Latent, PlannerStatus
from jepa_ros.srv import ScoreActions
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from jepa_common.heartbeat import heartbeat_qos
from jepa_common.qos_profiles import latest_qos
from jepa_common.stamps import to_nanoseconds, to_stamp

sys.path.insert(0, str(Path(__file__).parent))
from table_rig import URDF, Rig

Status, Result = PlannerStatus, ReachGoal.Result


@pytest.fixture
def make_rig(nodes, tiny_model) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(**settings) -> Rig:
        rigs.append(Rig(nodes, tiny_model, **settings))
        return rigs[-1]

    yield make
    for made in rigs:
        made.close()


@pytest.fixture
def rig(make_rig) -> Rig:
    return make_rig()


def test_goal_latent_on_the_topic_is_reached(rig) -> None:
    rig.show_goal()
    rig.wait_for_state(Status.REACHED)
    rig.wait_for(lambda: rig.rests, "rest")
    assert rig.distance < 0.015 and not rig.refused
    assert rig.status.step >= 2 and rig.status.model == rig.model_id
    assert len(rig.commands[0].joint_names) == 7 and not any(rig.commands[-1].points[-1].velocities)


def test_trajectories_start_ahead_of_now_and_are_accepted_without_a_jump(rig) -> None:
    rig.start_moving()
    rig.wait_for_state(Status.REACHED)
    assert not rig.refused
    starts = [to_nanoseconds(command.header.stamp) for command in rig.commands]
    assert starts == sorted(starts)
    assert all(len(point.velocities) == len(point.accelerations) == 7 for c in rig.commands for point in c.points)


def test_action_with_images_is_encoded_pursued_and_answered(rig) -> None:
    feedback = []
    handle = rig.send(rig.request(goals=2, gripper=1.0), lambda message: feedback.append(message.feedback))
    result = rig.result(handle)
    assert (result.error_code, result.error_msg[:6]) == (Result.REACHED, "energy")
    assert result.steps == len(result.energies) >= 2 and feedback[0].step == 1 and len(feedback[0].action) == 7
    assert rig.gripper and rig.gripper[0].points[0].positions[0] == pytest.approx(0.0)


def test_a_planned_gripper_closes_where_the_goal_picture_shows_closed_fingers(make_rig) -> None:
    rig = make_rig(**{"grasp.mode": "planned"})
    rig.gripper_change = 0.3
    distances = []
    handle = rig.send(rig.request(), lambda _: distances.append((rig.distance, len(rig.gripper))))
    assert rig.result(handle).error_code == Result.REACHED
    (command,) = rig.gripper
    assert command.points[-1].positions[0] == pytest.approx(0.0)
    assert max(distance for distance, closed in distances if closed) < 0.08, "not on the way"


def test_a_scheduled_gripper_stays_where_goals_bring_no_command(rig) -> None:
    rig.gripper_change = 0.3
    assert rig.result(rig.send(rig.request())).error_code == Result.REACHED
    assert not rig.gripper


def test_two_goals_at_once_the_newer_one_wins(rig) -> None:
    first = rig.send(rig.request())
    second = rig.send(rig.request())
    assert rig.result(first).error_code == Result.REPLACED
    assert rig.result(second).error_code == Result.REACHED


def test_cancelled_action_stops_the_arm(rig) -> None:
    handle = rig.send(rig.request())
    rig.wait_for(lambda: rig.status.step >= 1, "a step")
    handle.cancel_goal_async()
    assert rig.result(handle).error_code == Result.CANCELED
    rig.wait_for(lambda: rig.rests, "rest")
    rig.wait_for_state(Status.IDLE)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda goal: goal.goals.clear(), "at least one"),
        (lambda goal: setattr(goal.goals[0].image, "height", 0), "neither"),
        (lambda goal: setattr(goal.goals[0], "gripper", 3.0), "gripper"),
        (lambda goal: setattr(goal, "tolerance", float("nan")), "tolerance"),
        (lambda goal: setattr(goal, "tolerance_m", 0.02), "not calibrated"),
    ],
)
def test_goal_that_makes_no_sense_is_answered_with_why(rig, change, word) -> None:
    goal = rig.request()
    change(goal)
    result = rig.result(rig.send(goal))
    assert result.error_code == Result.BAD_GOAL and word in result.error_msg
    assert not rig.commands


def test_goal_image_that_the_encoder_cannot_read_is_given_up(rig) -> None:
    rig.encoder = False
    result = rig.result(rig.send(rig.request()))
    assert result.error_code == Result.BAD_GOAL and "is the encoder active" in result.error_msg


def test_latent_of_another_model_holds_the_arm_and_says_so(rig) -> None:
    rig.start_moving()
    rig.model_id = "other@000000000000"
    rig.wait_for_state(Status.HOLDING, "camera image")
    rig.wait_for(lambda: rig.rests, "rest")
    assert "expected one of the model tiny@" in rig.planner.diagnose().message
    rig.model_id = rig.tiny.model_id
    rig.wait_for_state(Status.REACHED)


def test_goal_of_another_model_is_not_pursued(rig) -> None:
    rig.show_goal(model="other@000000000000")
    rig.wait_for(lambda: "goal_latent" in rig.planner.diagnose().message, "a complaint")
    assert rig.status.state == Status.IDLE and not rig.commands


def test_goal_before_any_image_waits_and_says_for_what(make_rig) -> None:
    rig = make_rig(start=False)
    rig.camera = False
    rig.nodes.run(rig.planner.start)
    rig.wait_for(lambda: rig.planner._loop is not None, "the arm's description")
    rig.show_goal()
    rig.wait_for_state(Status.HOLDING, "camera image")
    assert not rig.commands
    rig.camera = True
    rig.wait_for_state(Status.REACHED)


@pytest.mark.parametrize(
    ("part", "word"), [("camera", "camera image"), ("driver", "joint_states"), ("predictor", "predictor is inactive")]
)
def test_part_that_fails_mid_motion_holds_the_arm_until_it_is_back(rig, part, word) -> None:
    rig.start_moving()
    setattr(rig, part, False)
    rig.wait_for_state(Status.HOLDING, word)
    rig.wait_for(lambda: rig.rests, "rest")
    where = rig.position
    time.sleep(0.3)
    np.testing.assert_array_equal(rig.position, where)
    setattr(rig, part, True)
    rig.wait_for_state(Status.REACHED)
    assert not rig.refused


def test_frozen_camera_is_stale_although_latents_come(rig) -> None:
    rig.start_moving()
    rig.frozen_stamp = time.time_ns()
    rig.wait_for_state(Status.HOLDING, "camera image")
    rig.frozen_stamp = None
    rig.wait_for_state(Status.REACHED)


def test_nan_in_joint_states_holds_the_arm_and_is_reported(rig) -> None:
    rig.start_moving()
    rig.bad_joint = 0.0
    rig.wait_for_state(Status.HOLDING, "joint_states")
    rig.wait_for(lambda: rig.rests, "rest")
    assert "position of panda_joint3 is not finite" in rig.planner.diagnose().message
    rig.bad_joint = float("nan")
    rig.wait_for_state(Status.REACHED)


def test_arm_that_is_not_where_it_was_commanded_is_sent_nothing(rig) -> None:
    rig.start_moving()
    rig.bad_joint = 1.0
    rig.wait_for_state(Status.HOLDING, "panda_joint3")
    sent = len(rig.commands)
    time.sleep(0.2)
    assert len(rig.commands) <= sent + 1


def test_data_that_stay_away_abort_the_goal(make_rig) -> None:
    rig = make_rig(**{"goal.give_up_seconds": 1.0})
    rig.start_moving()
    rig.camera = False
    rig.wait_for_state(Status.ABORTED, "camera image")


def test_goal_that_cannot_be_reached_spends_its_budget(make_rig) -> None:
    rig = make_rig(**{"goal.max_steps": 3})
    rig.goal_position = np.array([5.0, 0.0, 0.0])
    result = rig.result(rig.send(rig.request()))
    assert result.error_code == Result.BUDGET_SPENT and result.steps == 3
    rig.wait_for_state(Status.ABORTED, "not reached in 3 steps")


def test_services_pause_step_resume_and_stop(rig) -> None:
    assert not rig.call("step").success
    assert rig.call("pause").success
    rig.show_goal()
    rig.wait_for_state(Status.PAUSED)
    assert not rig.commands
    assert rig.call("step").success
    rig.wait_for(lambda: rig.status.step == 1, "one step")
    time.sleep(0.6)
    assert rig.status.step == 1 and rig.status.state == Status.PAUSED
    assert rig.call("resume").success
    rig.wait_for(lambda: rig.status.step > 1, "further steps")
    assert rig.call("stop").success
    rig.wait_for_state(Status.IDLE, "stopped by the service")
    rig.wait_for(lambda: rig.rests, "rest")


def test_dry_run_plans_and_publishes_nothing_to_the_arm(make_rig) -> None:
    rig = make_rig(dry_run=True)
    rig.show_goal()
    rig.wait_for(lambda: rig.status.step >= 2, "planned steps")
    assert not rig.commands and np.isfinite(rig.status.energy) and len(rig.status.action) == 7


def test_deactivated_planner_brings_the_arm_to_rest_and_answers_goals(rig) -> None:
    rig.start_moving()
    rig.nodes.run(rig.planner.trigger_deactivate)
    rig.wait_for_state(Status.INACTIVE)
    rig.wait_for(lambda: rig.rests, "rest")
    sent = len(rig.commands)
    result = rig.result(rig.send(rig.request()))
    assert result.error_code == Result.NOT_ACTIVE and len(rig.commands) == sent
    rig.nodes.run(rig.planner.trigger_activate)
    rig.show_goal()
    rig.wait_for_state(Status.REACHED)


def test_goal_from_before_activation_does_not_move_the_arm(make_rig) -> None:
    rig = make_rig(start=False)
    rig.show_goal()
    time.sleep(0.2)
    rig.nodes.run(rig.planner.start)
    rig.wait_for(lambda: rig.planner._loop and not rig.planner._loop.why_not_ready(rig.planner._now()), "fresh data")
    rig.wait_for_state(Status.ABORTED, "show it again")
    time.sleep(0.5)
    assert not rig.commands


def test_same_goal_seen_again_does_not_start_again(rig) -> None:
    stamp = time.time_ns()
    rig.show_goal(stamp)
    rig.wait_for_state(Status.REACHED)
    steps = rig.status.step
    rig.goal_position = rig.goal_position + 0.1
    rig.show_goal(stamp)
    time.sleep(0.5)
    assert rig.status.state == Status.REACHED and rig.status.step == steps


def test_controllers_own_word_on_what_it_follows_is_heard(rig, nodes) -> None:
    # A package of its own, which not every environment has.
    state = pytest.importorskip("control_msgs.msg").JointTrajectoryControllerState
    publisher = nodes.publisher(state, "controller_state", latest_qos())
    heard: list[tuple[float, float]] = []

    def hear(stamp: float, names: Sequence[str], positions: Sequence[float], velocities: Sequence[float]) -> None:
        index = list(names).index("a")
        heard.append((positions[index], velocities[index]))

    rig.planner._loop.desired_state = hear
    message = state(joint_names=["b", "a"])
    message.reference.positions, message.reference.velocities = [1.0, 2.0], [3.0, 4.0]
    publisher.publish(message)
    rig.wait_for(lambda: heard == [(2.0, 4.0)], "what the controller says")


@pytest.mark.parametrize("topic", ["joint_states", "joint_trajectory", "latent"])
def test_second_publisher_holds_the_arm_until_it_is_gone(rig, nodes, topic: str) -> None:
    rig.start_moving()
    kind = {"joint_states": JointState, "joint_trajectory": JointTrajectory, "latent": Latent}[topic]
    intruder = nodes.run(lambda: rclpy.create_node("intruder", context=nodes.client.context))
    nodes.run(lambda: intruder.create_publisher(kind, topic, 1))
    rig.wait_for_state(PlannerStatus.HOLDING, f"{topic}: expected one publisher, there are 2")
    assert "/intruder" in rig.status.reason
    rig.wait_for(lambda: rig.rests, "rest")
    nodes.run(intruder.destroy_node)
    rig.wait_for_state(PlannerStatus.REACHED)


def test_second_server_of_energies_holds_the_arm_until_it_is_gone(rig, nodes) -> None:
    rig.start_moving()
    intruder = nodes.run(lambda: rclpy.create_node("intruder", context=nodes.client.context))
    # It says what the real one says, so that only its being there gives it away.
    nodes.run(lambda: intruder.create_service(ScoreActions, "score_actions", rig._score))
    rig.wait_for_state(PlannerStatus.HOLDING, "score_actions: expected one server, there are 2")
    assert "/intruder" in rig.status.reason
    nodes.run(intruder.destroy_node)
    rig.wait_for_state(PlannerStatus.REACHED)


def test_predictor_that_contradicts_itself_is_not_believed(rig) -> None:
    rig.start_moving()
    rig.contradicts = True
    rig.wait_for_state(PlannerStatus.HOLDING, "does more than one predictor answer")
    rig.contradicts = False
    rig.wait_for_state(PlannerStatus.REACHED)


def test_silent_predictor_holds_the_arm_until_it_gives_a_sign_of_life(rig, nodes) -> None:
    rig.start_moving()
    beats = nodes.publisher(Header, "heartbeat", heartbeat_qos())
    beats.publish(Header(stamp=to_stamp(time.time_ns()), frame_id="/predictor"))
    rig.wait_for_state(PlannerStatus.HOLDING, "predictor: no sign of life")
    rig.wait_for(lambda: rig.rests, "rest")
    beats.publish(Header(frame_id="/predictor"))  # it says that it ends
    rig.wait_for_state(PlannerStatus.REACHED)


def test_another_description_does_not_change_an_active_arm(rig) -> None:
    rig.start_moving()
    loop = rig.planner._loop
    rig.description.publish(String(data=URDF.replace('velocity="2.175"', 'velocity="2.0"')))
    rig.wait_for(lambda: "the arm is not changed while active" in rig.planner.diagnose().message, "a complaint")
    assert rig.planner._loop is loop
    rig.wait_for_state(PlannerStatus.REACHED)


def test_description_of_another_arm_is_refused(nodes, tiny_model) -> None:
    rig = Rig(nodes, tiny_model, start=False)
    rig.description.publish(String(data=URDF.replace('xyz="0.0 0.0 0.333"', 'xyz="0.3 0.0 0.333"')))
    nodes.run(rig.planner.start)
    rig.wait_for(lambda: "axis of panda_joint1" in rig.planner.diagnose().message, "a refusal")
    assert rig.planner._loop is None
    rig.description.publish(String(data=URDF))
    rig.wait_for(lambda: rig.planner._loop is not None, "the right arm")
    rig.close()


def test_search_that_would_take_too_long_is_refused_by_the_measured_rate(rig) -> None:
    rig.planner._costs.rate.learn(64, 0.1)
    change = Parameter("solver.samples", value=8192)
    long, short = rig.nodes.run(lambda: rig.planner.set_parameters([change])), Parameter("solver.samples", value=128)
    assert not long[0].successful and "would take the predictor about 12.8 s" in long[0].reason
    assert rig.nodes.run(lambda: rig.planner.set_parameters([short]))[0].successful


def test_unusable_description_is_reported_and_a_good_one_helps(rig) -> None:
    rig.description.publish(String(data="<robot name='x'/>"))
    rig.wait_for(lambda: "robot_description" in rig.planner.diagnose().message, "a complaint")
    rig.show_goal()
    rig.wait_for_state(Status.REACHED)


def test_markers_show_the_plan_while_someone_looks(rig) -> None:
    shown = rig.nodes.collect(MarkerArray, "planner_markers", latest_qos())
    rig.start_moving()
    rig.wait_for(lambda: shown, "markers")
    assert {marker.ns for marker in shown[-1].markers} == {"workspace", "plan"}
    assert shown[-1].markers[0].header.frame_id == "panda_link0"


def test_solver_settings_change_while_running_and_limits_do_not(rig) -> None:
    changed = rig.planner.set_parameters(
        [Parameter("solver.samples", value=16), Parameter("limits.max_jerk", value=500.0)]
    )
    assert [result.successful for result in changed] == [True, False]
    assert "configure" in changed[1].reason


def test_settings_that_do_not_go_together_are_refused_while_running(rig) -> None:
    wrong = [Parameter("goal.tolerance_m", value=0.03), Parameter("solver.momentum_mean", value=2.0)]
    results = [rig.planner.set_parameters([parameter])[0] for parameter in wrong]
    assert not any(result.successful for result in results)
    assert "not calibrated" in results[0].reason
    rig.show_goal()
    rig.wait_for_state(Status.REACHED)


def test_wrong_settings_are_refused_in_configure(make_rig) -> None:
    rig = make_rig(start=False, **{"safety.workspace": [0.0, 1.0]})
    assert rig.planner.trigger_configure().name == "FAILURE"
    assert rig.planner.state_name == "unconfigured"

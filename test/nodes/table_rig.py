"""A table without MuJoCo for the planner's tests: an arm that follows trajectories, a camera, a perfect predictor."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from jepa_ros.action import ReachGoal
from jepa_ros.msg import Latent, PlannerStatus, SubGoal
from jepa_ros.srv import ScoreActions
from rclpy.action import ActionClient
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from jepa_common.latent_messages import latent_to_message
from jepa_common.qos_profiles import joint_states_qos, latched_qos, latest_qos
from jepa_common.stamps import to_nanoseconds, to_stamp
from jepa_planner.kinematics import Kinematics
from jepa_planner.planner_node import PlannerNode
from jepa_sim.robot_description import ARM_JOINTS, BASE_LINK, FINGER_JOINTS, HOME_POSITIONS, TCP_LINK, franka_panda
from jepa_sim.sim_node import trajectory_from_message
from jepa_sim.trajectory_controller import TrajectoryController, TrajectoryRefusedError
from jepa_world_model.poses import integrate

ROBOT = franka_panda()
URDF = ROBOT.to_urdf()
KINEMATICS = Kinematics.from_urdf(URDF, BASE_LINK, TCP_LINK, ARM_JOINTS)
START = KINEMATICS.ik([0.5, 0.0, 0.25, np.pi, 0, 0], HOME_POSITIONS).positions
GOAL = np.array([0.45, 0.10, 0.2])
SETTINGS = {
    "goal.tolerance": 0.01,
    "goal.plateau_steps": 0,
    "goal.encode_timeout": 1.0,
    "safety.ramp_seconds": 0.2,
    # A machine that others use as well delays messages; what these tests break is silent for much longer.
    "safety.max_joint_state_age": 1.0,
    "safety.max_image_age": 1.5,
    "safety.max_latent_age": 1.5,
    "solver.plan_seconds": 0.0,
}


class Rig:
    """Everything around the planner, in one node: each part can be switched off."""

    def __init__(self, nodes, tiny_model, start: bool = True, **settings) -> None:
        self.nodes, self.tiny, self.client = nodes, tiny_model, nodes.client
        self.driver = self.camera = self.encoder = self.predictor = True
        self.contradicts = False
        self.frozen_stamp: int | None = None
        self.bad_joint = float("nan")
        self.model_id = tiny_model.model_id
        self.goal_position = GOAL
        self.gripper_change = float("nan")
        self.requests = 0
        self.refused: list[str] = []
        self.controller = TrajectoryController(ARM_JOINTS, ROBOT.limits(ARM_JOINTS))
        self.controller.reset(START, time.time())
        self._open_topics()
        self.planner = nodes.make(PlannerNode, model=str(tiny_model.path), **{**SETTINGS, **settings})
        self.actions = nodes.run(lambda: ActionClient(self.client, ReachGoal, "reach_goal"))
        if start:
            nodes.run(self.planner.start)
            self.wait_for(lambda: self.status.state == PlannerStatus.IDLE and self.planner._loop, "an idle planner")
            self.wait_for(lambda: self.planner._loop.why_not_ready(self.planner._now()) == "", "fresh data")

    def _open_topics(self) -> None:
        client = self.client
        self.statuses = self.nodes.collect(PlannerStatus, "planner_status", latest_qos())
        self.commands = self.nodes.collect(JointTrajectory, "joint_trajectory", latest_qos())
        self.gripper = self.nodes.collect(JointTrajectory, "gripper_trajectory", latest_qos())
        client.create_subscription(JointTrajectory, "joint_trajectory", self._follow, latest_qos())
        client.create_subscription(Image, "goal_image", self._encode_goal, latched_qos(8))
        self.joints = client.create_publisher(JointState, "joint_states", joint_states_qos())
        self.latents = client.create_publisher(Latent, "latent", latest_qos())
        self.goal_latents = client.create_publisher(Latent, "goal_latent", latched_qos())
        self.description = client.create_publisher(String, "robot_description", latched_qos())
        self.description.publish(String(data=URDF))
        client.create_service(ScoreActions, "score_actions", self._score)
        client.create_timer(0.01, self._drive)
        client.create_timer(0.08, self._see)

    def close(self) -> None:
        """Ends what rclpy does not end with its node, on the thread that spins it."""
        ended = self.client.executor.create_task(self.actions.destroy)
        self.nodes.wait_until(ended.done, "the end of the action client")

    # --- the parts ------------------------------------------------------------------------------------------

    @property
    def position(self) -> np.ndarray:
        return self.controller.sample(time.time()).positions

    def _follow(self, message: JointTrajectory) -> None:
        try:
            self.controller.accept(trajectory_from_message(message), time.time())
        except TrajectoryRefusedError as error:
            self.refused.append(str(error))

    def _drive(self) -> None:
        if not self.driver:
            return
        now = time.time()
        desired = self.controller.sample(now)
        positions = [*desired.positions, 0.04, 0.04]
        if not np.isnan(self.bad_joint):
            positions[2] = float("nan") if self.bad_joint == 0 else self.bad_joint
        message = JointState(name=[*ARM_JOINTS, *FINGER_JOINTS], position=positions)
        message.velocity = [*desired.velocities, 0.0, 0.0]
        message.header.stamp = to_stamp(round(now * 1e9))
        self.joints.publish(message)

    def latent(self, stamp: int, model: str = "") -> Latent:
        # Every picture is another one, as a real camera's are.
        values = np.random.default_rng(stamp).normal(size=(1, self.tiny.tokens, self.tiny.dim)).astype(np.float32)
        return latent_to_message(values, Header(stamp=to_stamp(stamp)), model or self.model_id)

    def _see(self) -> None:
        if self.camera:
            self.latents.publish(self.latent(self.frozen_stamp or time.time_ns() - 20_000_000))

    def _encode_goal(self, message: Image) -> None:
        if self.encoder:
            self.goal_latents.publish(self.latent(to_nanoseconds(message.header.stamp)))

    def _score(self, request: ScoreActions.Request, response: ScoreActions.Response) -> ScoreActions.Response:
        self.requests += 1
        response.model, response.surprise = self.model_id, float("nan")
        response.gripper_change = self.gripper_change
        if not self.predictor:
            response.error_code, response.error_msg = ScoreActions.Response.NOT_ACTIVE, "predictor is inactive"
            return response
        actions = np.reshape(request.actions, (request.samples, request.horizon, request.action_dim))
        state = np.broadcast_to(np.asarray(request.states[-7:]), (request.samples, 7))
        for step in range(request.horizon):
            state = integrate(state, actions[:, step])
        response.energies = np.linalg.norm(state[:, :3] - self.goal_position, axis=-1).astype(np.float32)
        response.current_energy = float(np.linalg.norm(request.states[-7:-4] - self.goal_position))
        if self.contradicts:
            response.current_energy += 0.1 * self.requests
        return response

    # --- what a person does ---------------------------------------------------------------------------------

    @property
    def status(self) -> PlannerStatus:
        return self.statuses[-1] if self.statuses else PlannerStatus()

    def show_goal(self, stamp: int | None = None, model: str = "") -> None:
        self.goal_latents.publish(self.latent(stamp or time.time_ns(), model))

    def request(self, goals: int = 1, **fields) -> ReachGoal.Goal:
        image = Image(height=2, width=2, encoding="rgb8", step=6, data=bytes(12))
        gripper = fields.pop("gripper", float("nan"))
        return ReachGoal.Goal(goals=[SubGoal(image=image, gripper=gripper) for _ in range(goals)], **fields)

    def send(self, goal: ReachGoal.Goal, feedback: Callable = lambda _: None):
        assert self.actions.wait_for_server(20.0)
        future = self.nodes.run(lambda: self.actions.send_goal_async(goal, feedback_callback=feedback))
        self.wait_for(future.done, "an accepted goal")
        return future.result()

    def result(self, handle) -> ReachGoal.Result:
        future = self.nodes.run(handle.get_result_async)
        self.wait_for(future.done, "a result")
        return future.result().result

    def call(self, name: str) -> Trigger.Response:
        return self.nodes.call(Trigger, f"planner/{name}", Trigger.Request())

    def wait_for(self, condition: Callable, what: str, timeout: float = 60.0) -> None:
        self.nodes.wait_until(
            condition, lambda: f"{what}; planner: {self.status.state} {self.status.reason!r}", timeout
        )

    def wait_for_state(self, state: int, word: str = "") -> None:
        self.wait_for(lambda: self.status.state == state and word in self.status.reason, f"state {state} {word!r}")

    def start_moving(self) -> None:
        self.show_goal()
        self.wait_for(lambda: self.status.step >= 2, "two steps")

    @property
    def rests(self) -> bool:
        """Whether nothing that was commanded is still to be executed."""
        return self.controller.end() <= time.time()

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(KINEMATICS.pose(self.position)[:3] - self.goal_position))

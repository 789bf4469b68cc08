"""The planner node: from latents and joint states to trajectories for the arm.

Listens to `latent`, `goal_latent`, `joint_states` and `robot_description`, asks `score_actions`, publishes
`joint_trajectory`, `gripper_trajectory`, `planner_status` and `planner_markers`, and serves `reach_goal`. Goals with
images are shown to the encoder on `goal_image`. What it does and why is `control_loop.ControlLoop`'s business.
"""

from __future__ import annotations

import queue
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from jepa_ros.action import ReachGoal
from jepa_ros.msg import Latent, PlannerStatus
from jepa_ros.srv import ScoreActions
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from jepa_common.health import Report
from jepa_common.latent_messages import LatentKind
from jepa_common.latest_slot_worker import LatestSlotWorker
from jepa_common.managed_node import ManagedNode
from jepa_common.qos_profiles import OVERRIDABLE, joint_states_qos, latched_qos, latest_qos
from jepa_common.run_node import run_node
from jepa_common.stamps import NANOSECONDS_PER_SECOND, to_nanoseconds, to_stamp
from jepa_planner.arm_motion import ArmMotion
from jepa_planner.control_loop import ControlLoop, Job, LatentStamps, Moment, Status, StepReport
from jepa_planner.goal_images import GoalImages
from jepa_planner.goal_machine import ErrorCode, GoalResult, State
from jepa_planner.goals import GoalConfig, GoalSequence, SubGoal
from jepa_planner.joint_history import JointHistory, JointStateRefusedError
from jepa_planner.kinematics import Kinematics
from jepa_planner.mpc import Action, Mpc
from jepa_planner.planner_markers import plan_markers
from jepa_planner.planner_messages import (
    GoalRefusedError,
    arm_message,
    feedback_message,
    goal_images,
    gripper_message,
    result_message,
    status_message,
)
from jepa_planner.planner_parameters import PlannerParameters
from jepa_planner.safety import ApprovedCommand
from jepa_planner.service_cost import ServiceCostConfig, ServiceCosts
from jepa_planner.solvers import Iteration, make_solver
from jepa_world_model.checkpoint import open_world_model

TICK_SECONDS = 0.02
STATUS_SECONDS = 1.0
REASON_SECONDS = 0.2  # ages in a reason change all the time
LOG_PERIOD_SECONDS = 2.0
SHOW_AGAIN_SECONDS = 1.0
GOALS_REMEMBERED = 64
GOAL_DEPTH = 8


@dataclass
class _ActionGoal:
    """A client's goal: its handle, and the future that its execution waits for."""

    handle: ServerGoalHandle
    finished: Future


class PlannerNode(ManagedNode[PlannerParameters]):
    """Conversion, topics and threads around `ControlLoop`.

    Threads: the executor's thread takes messages and runs the watchdog; plans are made on the worker's thread.
    What the loop reports from there goes through a queue to the executor's thread, except commands, which are
    published at once.
    """

    def __init__(self, **options: Any) -> None:
        """Declares the parameters and offers the action and the services, which answer in every state."""
        super().__init__("planner", PlannerParameters, **options)
        self._loop: ControlLoop | None = None
        self._goals: dict[Hashable, _ActionGoal] = {}
        self._pending: GoalImages[Image | Latent] | None = None
        self._pending_config: GoalConfig | None = None
        self._seen_goals: OrderedDict[int, None] = OrderedDict()
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._last_iteration: Iteration | None = None
        self._last_stamp = 0
        self._shown_again = float("-inf")
        self._status_key: tuple[Any, ...] = ()
        self._status_time = float("-inf")
        self._model = ""
        self._status = self.create_publisher(
            PlannerStatus, "planner_status", latest_qos(), qos_overriding_options=OVERRIDABLE
        )
        self._offer_services()
        self.create_timer(TICK_SECONDS, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _offer_services(self) -> None:
        self._server = ActionServer(
            self,
            ReachGoal,
            "reach_goal",
            execute_callback=self._execute,
            goal_callback=lambda _: GoalResponse.ACCEPT,
            cancel_callback=self._on_cancel,
        )
        for name, serve in (
            ("pause", self._pause),
            ("resume", self._resume),
            ("step", self._step),
            ("stop", self._stop),
        ):
            self.create_service(Trigger, f"~/{name}", _answer(serve))

    # --- life cycle -----------------------------------------------------------------------------------------

    def configure(self, parameters: PlannerParameters) -> None:
        """Reads the model's card and checks all settings; the arm is built when its description comes."""
        self._card = open_world_model(parameters.model).card
        self._accepted = LatentKind(self._card.model_id, self._card.tokens, self._card.dim)
        self._model = self._card.model_id
        self._settings = parameters
        parameters.safety.config(parameters.arm.finger_travel)
        parameters.goal.config(self._card, 0.0)
        make_solver(parameters.solver.solver_config(self._card))
        self._arm_topic = self.publisher_while_configured(JointTrajectory, "joint_trajectory", latest_qos())
        self._gripper_topic = self.publisher_while_configured(JointTrajectory, "gripper_trajectory", latest_qos())
        self._goal_image_topic = self.publisher_while_configured(Image, "goal_image", latched_qos())
        self._goal_latent_topic = self.publisher_while_configured(Latent, "goal_latent", latched_qos())
        self._marker_topic = self.publisher_while_configured(MarkerArray, "planner_markers", latest_qos())
        self._make_client(parameters)
        self._worker = LatestSlotWorker[Job]("planner", self._plan, self._planning_failed)
        self.configured.callback(self._worker.stop)
        self._listen(String, "robot_description", self._on_description, latched_qos())
        self.configured.callback(self._forget_arm)
        self.get_logger().info(f"plans with {self._model}; {parameters.solver.name}, arm {parameters.robot_type}")

    def activate(self) -> None:
        """Listens to what the control loop needs, and lets commands flow."""
        self._activated_at = time.time_ns()
        self.subscribe_while_active(JointState, "joint_states", self._on_joint_states, joint_states_qos())
        self.subscribe_while_active(Latent, "latent", self._on_latent, latest_qos())
        # rclpy hands the message's origin to a callback that takes two arguments.
        on_goal: Callable[..., None] = self._on_goal_latent
        self.subscribe_while_active(Latent, "goal_latent", on_goal, latched_qos(GOAL_DEPTH))
        self.activated.callback(self._deactivate_loop)
        if self._loop is not None:
            self._loop.activate(self._now())

    def diagnose(self) -> Report:
        """Rate and latency of plans, and the state."""
        report, status = self.health.report(), self._current_status()
        values = {"state": status.state.name.lower(), "reason": status.reason, "model": self._model}
        return Report(report.level, report.message, {**report.values, **values})

    def destroy_node(self) -> None:
        """Ends the action server too, which rclpy leaves to its owner."""
        self._server.destroy()
        super().destroy_node()

    def _make_client(self, parameters: PlannerParameters) -> None:
        client = self.create_client(ScoreActions, "score_actions")
        self.configured.callback(self.destroy_client, client)
        solver = parameters.solver
        config = ServiceCostConfig(self._model, solver.distance, solver.sum_over_horizon, solver.score_timeout)
        self._costs = ServiceCosts(client, config, lambda goal: self._events.put(lambda: self._show_again(goal)))

    def _listen(self, message_type: type, topic: str, callback: Callable[[Any], None], qos: Any) -> None:
        subscription = self.create_subscription(message_type, topic, callback, qos, qos_overriding_options=OVERRIDABLE)
        self.configured.callback(self.destroy_subscription, subscription)

    def _deactivate_loop(self) -> None:
        if self._loop is not None and self.context.ok():
            self._loop.deactivate(self._now())
            self._drain()

    def _forget_arm(self) -> None:
        self._loop = None

    # --- what comes in --------------------------------------------------------------------------------------

    def _on_description(self, message: String) -> None:
        try:
            loop = self._make_loop(message.data)
        except ValueError as error:
            self._complain(f"robot_description: {error}")
            return
        self._deactivate_loop()
        self._loop = loop
        if self.is_active:
            loop.activate(self._now())
        self.get_logger().info("robot_description: read, the arm is known")

    def _make_loop(self, urdf: str) -> ControlLoop:
        settings, arm = self._settings, self._settings.arm
        kinematics = Kinematics.from_urdf(urdf, arm.base_link, arm.tip_link, arm.joints)
        limits = settings.limits.apply(kinematics.limits(), settings.robot_type)
        motion = ArmMotion(kinematics, limits, settings.safety.config(arm.finger_travel), settings.motion.config(arm))
        joints = JointHistory(arm.joints, arm.finger_joints, arm.finger_travel)
        return ControlLoop(settings.loop_config(self._card), motion, kinematics, joints, self)

    def _on_joint_states(self, message: JointState) -> None:
        if self._loop is None:
            return
        stamp = to_nanoseconds(message.header.stamp) / NANOSECONDS_PER_SECOND
        try:
            self._loop.joint_state(self._now(), stamp, message.name, message.position, message.velocity)
        except JointStateRefusedError as error:
            self._complain(str(error))

    def _on_latent(self, message: Latent) -> None:
        refusal = self._why_refused(message)
        if refusal:
            self._complain(f"latent: {refusal}")
        elif self._loop is not None:
            self._loop.latent(self._now(), to_nanoseconds(message.header.stamp))
            self._plan_when_due()

    def _on_goal_latent(self, message: Latent, info: dict[str, int]) -> None:
        stamp, refusal = to_nanoseconds(message.header.stamp), self._why_refused(message)
        if refusal:
            self._complain(f"goal_latent: {refusal}")
        elif self._pending is not None and self._pending.latent_came(stamp):
            self._start_when_complete()
        elif stamp in self._seen_goals:
            self.get_logger().debug("goal_latent: known already")
        elif info["source_timestamp"] < self._activated_at:
            self.get_logger().warning("a goal from before activation is not pursued: show it again")
        else:
            self._pursue_topic_goal(stamp)

    def _why_refused(self, message: Latent) -> str:
        expected = (1, self._accepted.tokens, self._accepted.dim)
        if message.model != self._accepted.model:
            return f"expected one of the model {self._accepted.model}, got {message.model or 'none'}"
        if tuple(message.shape) != expected:
            return f"expected the shape {expected}, got {tuple(message.shape)}"
        return ""

    def _complain(self, text: str) -> None:
        self.health.failed(text)
        self.get_logger().error(text, throttle_duration_sec=LOG_PERIOD_SECONDS)

    # --- goals ----------------------------------------------------------------------------------------------

    def _pursue_topic_goal(self, stamp: int) -> None:
        self._remember(stamp)
        if self._loop is None:
            self._complain("a goal came before robot_description; show it again when the planner is idle")
            return
        self._pending = None
        with self._loop.locked():
            self._loop.machine.announce(f"topic {stamp}", self._now().steady, "")
            settings = self.parameters()
            self._start((SubGoal(stamp),), settings.goal.config(self._card, 0.0), settings)

    async def _execute(self, handle: ServerGoalHandle) -> ReachGoal.Result:
        goal = bytes(handle.goal_id.uuid)
        finished = self._goals[goal] = _ActionGoal(handle, Future())
        self._begin(goal, handle.request)
        result: GoalResult = await finished.finished
        del self._goals[goal]
        if result.code is ErrorCode.REACHED:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result_message(result)

    def _begin(self, goal: Hashable, request: ReachGoal.Goal) -> None:
        """Shows the request's images to the encoder; the goal starts when all their latents have come."""
        if self._loop is None or not self.is_active:
            reason = "the planner is not active" if not self.is_active else "robot_description never came"
            self.goal_finished(goal, GoalResult(ErrorCode.NOT_ACTIVE, reason))
            return
        try:
            images = goal_images(request, self._accepted)
            config = self.parameters().goal.config(self._card, request.tolerance)
        except (GoalRefusedError, ValueError) as error:
            self.goal_finished(goal, GoalResult(ErrorCode.BAD_GOAL, str(error)))
            return
        first = self._fresh_stamp(len(images))
        self._pending = GoalImages(images, self._show, first, self._settings.goal.encode_timeout)
        self._pending_config = config
        with self._loop.locked():
            self._loop.machine.announce(goal, self._now().steady, self._pending.waits_for)

    def _start_when_complete(self) -> None:
        pending, loop, config = self._pending, self._loop, self._pending_config
        if pending is None or loop is None or config is None or not pending.complete:
            return
        parts = zip(pending.stamps, pending.images, strict=True)
        goals = tuple(SubGoal(stamp, image.max_steps, image.gripper) for stamp, image in parts)
        with loop.locked():
            if loop.machine.goal is not None and loop.machine.sequence is None:
                self._start(goals, config, self.parameters())

    def _start(self, goals: tuple[SubGoal[int], ...], config: GoalConfig, settings: PlannerParameters) -> None:
        if self._loop is None:
            return
        solver = make_solver(settings.solver.solver_config(self._card))
        mpc: Mpc[LatentStamps, int] = Mpc(settings.mpc_config(self._card), solver, self._keep_iteration)
        self._loop.start_goal(GoalSequence(goals, config), mpc)
        self.get_logger().info(f"pursues {len(goals)} goal image(s), tolerance {config.tolerance:.4g}")

    def _show(self, message: Image | Latent, stamp: int) -> None:
        self._remember(stamp)
        message.header.stamp = to_stamp(stamp)
        topic = self._goal_image_topic if isinstance(message, Image) else self._goal_latent_topic
        topic.publish(message)

    def _show_again(self, goal: int) -> None:
        now = time.monotonic()
        if self._pending is None or goal not in self._pending.stamps or now - self._shown_again < SHOW_AGAIN_SECONDS:
            return
        self._shown_again = now
        self._pending.send_again(self._pending.stamps.index(goal))

    def _fresh_stamp(self, count: int) -> int:
        self._last_stamp = max(self.get_clock().now().nanoseconds, self._last_stamp + 1)
        first, self._last_stamp = self._last_stamp, self._last_stamp + count
        return first

    def _remember(self, stamp: int) -> None:
        self._seen_goals[stamp] = None
        while len(self._seen_goals) > GOALS_REMEMBERED:
            self._seen_goals.popitem(last=False)

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        if self._loop is not None:
            with self._loop.locked():
                if self._loop.machine.goal == bytes(handle.goal_id.uuid):
                    self._loop.machine.cancel("canceled by the client")
        return CancelResponse.ACCEPT

    # --- services -------------------------------------------------------------------------------------------

    def _pause(self) -> str:
        loop = self._active_loop()
        with loop.locked():
            loop.machine.pause()
        return "paused"

    def _resume(self) -> str:
        loop = self._active_loop()
        with loop.locked():
            loop.machine.resume(self._now().steady)
        return "resumed"

    def _step(self) -> str:
        loop = self._active_loop()
        with loop.locked():
            if not loop.machine.step(self._now().steady):
                raise _ServiceRefusedError("a step needs a paused goal: pause first, and show a goal")
        return "takes one step"

    def _stop(self) -> str:
        loop = self._active_loop()
        with loop.locked():
            stopped = loop.machine.cancel("stopped by the service")
        return "stopped" if stopped else "there was no goal; the arm rests"

    def _active_loop(self) -> ControlLoop:
        if self._loop is None or not self.is_active:
            raise _ServiceRefusedError(f"the planner is {self.state_name} and knows no arm yet")
        return self._loop

    # --- planning -------------------------------------------------------------------------------------------

    def _plan_when_due(self) -> None:
        if self._loop is None:
            return
        job = self._loop.next_job(self._now())
        if job is not None:
            self._worker.submit(job)

    def _plan(self, job: Job) -> None:
        """Plans and commands one action, on the worker's thread."""
        loop, started = self._loop, time.perf_counter()
        if loop is None:
            return
        action = loop.perform(job, self._costs)
        seconds = time.perf_counter() - started
        loop.conclude(job, action, self._now(), seconds)
        if isinstance(action, str):
            self.health.failed(action)
        else:
            self.health.succeeded(seconds)
            self._show_plan(job, action)

    def _planning_failed(self, error: BaseException) -> None:
        """A fault of the program: the goal is given up, the node lives on."""
        text = f"planning failed: {type(error).__name__}: {error}"
        self._complain(text)
        if self._loop is not None:
            self._loop.abandon(text)

    def _keep_iteration(self, iteration: Iteration) -> None:
        self._last_iteration = iteration

    def _show_plan(self, job: Job, action: Action) -> None:
        if not self._settings.markers or self._marker_topic.get_subscription_count() == 0:
            return
        safety = self._settings.safety.config(self._settings.arm.finger_travel)
        self._marker_topic.publish(
            plan_markers(
                job.state,
                action.values,
                self._last_iteration,
                safety.workspace,
                safety.keep_out,
                self._settings.arm.base_link,
                self.get_clock().now().to_msg(),
            )
        )

    # --- what the control loop puts out ---------------------------------------------------------------------

    def send_arm(self, command: ApprovedCommand) -> None:
        """Publishes an approved command: the only place that does."""
        self._arm_topic.publish(arm_message(command.segment, self._settings.arm.joints))

    def send_gripper(self, closedness: float) -> None:
        """Publishes where the fingers should go."""
        arm = self._settings.arm
        if arm.finger_joints:
            seconds = self._settings.motion.gripper_seconds
            self._gripper_topic.publish(gripper_message(closedness, arm.finger_joints, arm.finger_travel, seconds))

    def step_taken(self, report: StepReport) -> None:
        """Sends feedback to the client whose goal it is."""
        self._events.put(lambda: self._give_feedback(report))

    def goal_finished(self, goal: Hashable, result: GoalResult) -> None:
        """Ends the client's action, if the goal came from one."""
        self._events.put(lambda: self._finish(goal, result))

    def _give_feedback(self, report: StepReport) -> None:
        goal = self._goals.get(report.goal)
        if goal is not None:
            goal.handle.publish_feedback(feedback_message(report))

    def _finish(self, goal: Hashable, result: GoalResult) -> None:
        text = f"goal ended, {result.code.name.lower().replace('_', ' ')}: {result.message}"
        # Two lines of source, because rclpy ties a severity to each.
        if result.code <= ErrorCode.REPLACED:
            self.get_logger().info(text)
        else:
            self.get_logger().warning(text)
        known = self._goals.get(goal)
        if known is not None:
            known.finished.set_result(result)

    # --- the watchdog ---------------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        if self._loop is not None and self.is_active:
            self._loop.tick(self._now())
            self._wait_for_images()
            self._plan_when_due()
        self._drain()
        self._publish_status()

    def _wait_for_images(self) -> None:
        pending, loop = self._pending, self._loop
        if pending is None or loop is None or pending.complete:
            return
        with loop.locked():
            if loop.machine.goal is None or loop.machine.sequence is not None:
                return
            failure = pending.tick(time.monotonic())
            loop.machine.waits_for(pending.waits_for)
            if failure:
                loop.machine.abort(ErrorCode.BAD_GOAL, failure)

    def _drain(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            event()

    def _publish_status(self) -> None:
        status, now = self._current_status(), time.monotonic()
        key = (status.state, status.step, status.sub_goal)
        waited = now - self._status_time
        changed = key != self._status_key[:3] or (status.reason != self._status_key[3] and waited > REASON_SECONDS)
        if changed or waited > STATUS_SECONDS:
            self._status_key, self._status_time = (*key, status.reason), now
            self._status.publish(status_message(status, self.get_clock().now().to_msg(), self._model))

    def _current_status(self) -> Status:
        if self._loop is not None:
            return self._loop.status(self._now())
        state = {"unconfigured": State.UNCONFIGURED, "active": State.IDLE}.get(self.state_name, State.INACTIVE)
        reason = "robot_description: none came yet" if state is not State.UNCONFIGURED else ""
        return Status.idle(state, reason)

    def _now(self) -> Moment:
        return Moment(self.get_clock().now().nanoseconds / NANOSECONDS_PER_SECOND, time.monotonic())


class _ServiceRefusedError(RuntimeError):
    """What was asked for cannot be done now."""


def _answer(serve: Callable[[], str]) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
    """A service callback that answers with what ``serve`` returns, or with why it refused."""

    def callback(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message, response.success = serve(), True
        except _ServiceRefusedError as error:
            response.message, response.success = str(error), False
        return response

    return callback


def main() -> int:
    """Runs the node."""
    return run_node(PlannerNode)


if __name__ == "__main__":
    sys.exit(main())

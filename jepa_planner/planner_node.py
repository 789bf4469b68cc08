"""The planner node: from latents and joint states to trajectories for the arm.

Listens to `latent`, `goal_latent`, `joint_states`, `robot_description` and, where the arm's controller publishes it,
`desired_joint_states` or `controller_state`; asks `score_actions`, publishes
`joint_trajectory`, `gripper_trajectory`, `planner_status` and `planner_markers`, and serves `reach_goal`. What it
does and why is the business of `control_loop.ControlLoop`; goals come in through `goal_intake.GoalIntake`.
"""

from __future__ import annotations

import queue
import sys
import time
import zlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

from jepa_ros.msg import Latent
from jepa_ros.srv import ScoreActions
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from jepa_common.health import Report
from jepa_common.latest_slot_worker import LatestSlotWorker
from jepa_common.managed_node import ManagedNode
from jepa_common.parameters import with_changes
from jepa_common.publisher_watch import PublisherWatch
from jepa_common.qos_profiles import OVERRIDABLE, joint_states_qos, latched_qos, latest_qos
from jepa_common.robots import ROBOTS, URDF_ONLY
from jepa_common.run_node import run_node
from jepa_common.stamps import NANOSECONDS_PER_SECOND, to_nanoseconds
from jepa_planner.arm_motion import ArmMotion
from jepa_planner.calibration_run import CalibrationConfig
from jepa_planner.calibration_service import CalibrationService
from jepa_planner.control_loop import ControlLoop, Job, LatentStamps, Moment, Status, StepReport
from jepa_planner.controller_reports import hear_reports
from jepa_planner.goal_intake import GoalIntake
from jepa_planner.goal_machine import GoalResult, State
from jepa_planner.joint_history import JointHistory, JointStateRefusedError
from jepa_planner.kinematics import Kinematics
from jepa_planner.limits import published_limits
from jepa_planner.moments import Moments
from jepa_planner.mpc import Action, Mpc
from jepa_planner.planner_markers import plan_markers
from jepa_planner.planner_messages import arm_message, gripper_message
from jepa_planner.planner_parameters import PlannerParameters
from jepa_planner.planner_services import PlannerServices, ServiceRefusedError
from jepa_planner.robot_check import check_robot
from jepa_planner.safety import ApprovedCommand
from jepa_planner.service_cost import ServiceCostConfig, ServiceCosts
from jepa_planner.solvers import Iteration, make_solver
from jepa_planner.status_publisher import StatusPublisher
from jepa_world_model.checkpoint_header import open_header

TICK_SECONDS = 0.02
WATCH_SECONDS = 0.2  # between two looks at who publishes
LOG_PERIOD_SECONDS = 2.0
WARNING_PERIOD_SECONDS = 10.0
# Without these nodes the planner is blind, or cannot think.
_NEEDED = ("encoder", "predictor")


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
        self._joints: JointHistory | None = None
        self._model = self._description = self._description_refused = ""
        # What could not be used of a joint state, and when, s: it tells about the fingers, or about velocities.
        self._left_out, self._left_out_at = "", float("-inf")
        self._intruder = ""  # why another publisher is one too many
        self._last_iteration: Iteration | None = None
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._status = StatusPublisher(self)
        self._goals = GoalIntake(self, self._make_mpc)
        self.created.callback(self._goals.destroy)
        self._operator = PlannerServices(self, self._active_loop)
        self._camera = CalibrationService(self, self._active_loop, self._calibration_config)
        self.add_on_set_parameters_callback(self._refuse_senseless_changes)
        self.create_timer(TICK_SECONDS, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # --- life cycle -----------------------------------------------------------------------------------------

    def configure(self, parameters: PlannerParameters) -> None:
        """Reads the model's card and checks all settings; the arm is built when its description comes."""
        if "arm.finger_travel" in self.unknown_overrides():
            raise ValueError(
                "arm.finger_travel does not tell which end is open: give arm.finger_open and arm.finger_closed instead"
            )
        self._description_refused = ""
        self._card = open_header(parameters.model).card.measured_by(parameters.solver.distance)
        self._model = self._card.model_id
        self._settings = parameters
        self._moments = Moments(self._ros_time, self._uses_sim_time)
        self._camera.configure(parameters.camera_calibration, self._model)
        self._check(parameters)
        self._arm_topic = self.publisher_while_configured(JointTrajectory, "joint_trajectory", latest_qos())
        self._gripper_topic = self.publisher_while_configured(JointTrajectory, "gripper_trajectory", latest_qos())
        self._marker_topic = self.publisher_while_configured(MarkerArray, "planner_markers", latest_qos())
        self._goals.configure(self._card)
        self._costs = self._make_costs(parameters)
        self._worker = LatestSlotWorker[Job]("planner", self._plan, self._planning_failed)
        self.configured.callback(self._worker.stop)
        self.configured.callback(self._use_loop, None)
        description = self.create_subscription(
            String, "robot_description", self._on_description, latched_qos(), qos_overriding_options=OVERRIDABLE
        )
        self.configured.callback(self.destroy_subscription, description)
        self.get_logger().info(f"plans with {self._model}; {parameters.solver.name}, arm {parameters.robot_type}")

    def _check(self, parameters: PlannerParameters) -> None:
        """Raises ValueError for settings that do not go together, or not with the model."""
        safety = parameters.safety.config(parameters.arm)
        parameters.goal.config(self._card)
        parameters.calibration.config(safety.workspace, self._model)
        self._make_mpc(parameters)

    def _refuse_senseless_changes(self, changed: list[Parameter]) -> SetParametersResult:
        """A value that is taken at once is checked with all others at once, not when the next goal comes."""
        if self.state_name not in ("inactive", "active"):
            return SetParametersResult(successful=True)
        try:
            parameters = with_changes(self.parameters(), {item.name: item.value for item in changed})
            self._check(parameters)
            self._check_work(parameters)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _check_work(self, parameters: PlannerParameters) -> None:
        """Raises ValueError for a search whose requests would take longer than is waited for, as measured until now."""
        solver = parameters.solver
        seconds = self._costs.rate.seconds(solver.samples * solver.horizon)
        if seconds > solver.score_timeout:
            raise ValueError(
                f"solver: {solver.samples} samples of {solver.horizon} actions would take the predictor about "
                f"{seconds:.1f} s at the rate measured until now; solver.score_timeout is {solver.score_timeout:g} s"
            )

    def activate(self) -> None:
        """Listens to what the control loop needs, and lets commands flow."""
        self.subscribe_while_active(JointState, "joint_states", self._on_joint_states, joint_states_qos())
        hear_reports(self, self._on_report)
        self.subscribe_while_active(Latent, "latent", self._on_latent, latest_qos())
        self._goals.activate()
        self._watch_publishers()
        self.activated.callback(self._deactivate_loop)
        if self._loop is not None:
            self._loop.activate(self._now())

    def _watch_publishers(self) -> None:
        """Where nothing else keeps others from the topics, at least they are noticed."""
        topics = [name for name in self._settings.safety.single_publishers if name != "/clock" or self._uses_sim_time]
        watch = PublisherWatch(self, topics, ("score_actions",) if topics else ())
        self._intruder = ""

        def look() -> None:
            self._intruder = watch.intruder(time.monotonic())
            if self._intruder:
                self._complain(self._intruder)

        timer = self.create_timer(WATCH_SECONDS, look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.activated.callback(self.destroy_timer, timer)

    @property
    def _uses_sim_time(self) -> bool:
        return bool(self.get_parameter("use_sim_time").value)

    def diagnose(self) -> Report:
        """Rate and latency of plans, and the state."""
        report, status = self.health.report(), self._current_status()
        values = {"state": status.state.name.lower(), "reason": status.reason, "model": self._model}
        if time.monotonic() - self._left_out_at < WARNING_PERIOD_SECONDS:
            values["joint_states"] = self._left_out
        if self._joints is not None and self._joints.gripper_is_unknown:
            values["gripper"] = f"counts as open: none of {', '.join(self._settings.arm.finger_joints)} came"
        return Report(report.level, report.message, {**report.values, **values})

    def _make_costs(self, parameters: PlannerParameters) -> ServiceCosts:
        client = self.create_client(ScoreActions, "score_actions")
        self.configured.callback(self.destroy_client, client)
        solver = parameters.solver
        config = ServiceCostConfig(self._model, solver.distance, solver.sum_over_horizon, solver.score_timeout)
        return ServiceCosts(client, config, lambda goal: self._events.put(lambda: self._goals.show_again(goal)))

    def _make_mpc(self, parameters: PlannerParameters) -> Mpc[LatentStamps, int]:
        solver = make_solver(parameters.solver.solver_config(self._card))
        config = replace(parameters.mpc_config(self._card), camera_rotation=self._camera.rotation)
        return Mpc(config, solver, self._keep_iteration)

    def _calibration_config(self) -> CalibrationConfig:
        settings = self._settings
        if settings.dry_run:
            raise ServiceRefusedError("dry_run is on: a calibration has to move the arm")
        safety = settings.safety.config(settings.arm)
        return settings.calibration.config(safety.workspace, self._model)

    def _deactivate_loop(self) -> None:
        if self._loop is not None and self.context.ok():
            self._loop.deactivate(self._now())
            self._drain()

    def _use_loop(self, loop: ControlLoop | None) -> None:
        self._loop = self._goals.loop = loop

    def _active_loop(self) -> ControlLoop:
        if self._loop is None or not self.is_active:
            raise ServiceRefusedError(f"the planner is {self.state_name}, or robot_description has not come")
        return self._loop

    # --- what comes in --------------------------------------------------------------------------------------

    def _on_description(self, message: String) -> None:
        # A publisher that starts again says it again: the goal goes on.
        if self._loop is not None and message.data == self._description:
            return
        if self._loop is not None and self.is_active:
            self._complain("robot_description: another one came, the arm is not changed while active; deactivate first")
            return
        try:
            loop = self._make_loop(message.data)
        except ValueError as error:
            self._description_refused = f"robot_description: {error}"
            self._complain(self._description_refused)
            return
        self._description_refused = ""
        self._use_loop(loop)
        self._description = message.data
        if self.is_active:
            loop.activate(self._now())
        self.get_logger().info("robot_description: read, the arm is known")

    def _make_loop(self, urdf: str) -> ControlLoop:
        settings, arm = self._settings, self._settings.arm
        kinematics = Kinematics.from_urdf(urdf, arm.base_link, arm.tip_link, arm.joints)
        if kinematics.held_joints:
            self.get_logger().warning(
                f"robot_description: {', '.join(kinematics.held_joints)} between {arm.base_link} and {arm.tip_link} "
                "are not among arm.joints: they count as being at zero"
            )
        if settings.robot_type != URDF_ONLY:
            check_robot(kinematics, published_limits(ROBOTS.load(settings.robot_type), arm.joints))
        limits = settings.limits.apply(kinematics.limits(), settings.robot_type)
        safety = settings.safety.config(arm)
        motion = ArmMotion(kinematics, limits, safety, settings.motion.config(arm))
        self._joints = JointHistory(arm.joints, arm.gripper())
        return ControlLoop(settings.loop_config(self._card), motion, kinematics, self._joints, self, self._now)

    def _on_joint_states(self, message: JointState) -> None:
        if self._loop is None:
            return
        stamp = to_nanoseconds(message.header.stamp) / NANOSECONDS_PER_SECOND
        try:
            left_out = self._loop.joint_state(self._now(), stamp, message.name, message.position, message.velocity)
        except JointStateRefusedError as error:
            self._complain(str(error))
            return
        if left_out:
            self._left_out, self._left_out_at = left_out, time.monotonic()
            self.get_logger().warning(left_out, throttle_duration_sec=WARNING_PERIOD_SECONDS)

    def _on_report(
        self, stamp: float, names: Sequence[str], positions: Sequence[float], velocities: Sequence[float]
    ) -> None:
        if self._loop is not None:
            self._loop.desired_state(stamp, names, positions, velocities)

    def _on_latent(self, message: Latent) -> None:
        refusal = self._goals.why_refused(message)
        if refusal:
            self._complain(f"latent: {refusal}")
        elif self._loop is not None:
            self._loop.latent(self._now(), to_nanoseconds(message.header.stamp), zlib.crc32(message.data))
            self._plan_when_due()

    def _complain(self, text: str) -> None:
        self.health.failed(text)
        self.get_logger().error(text, throttle_duration_sec=LOG_PERIOD_SECONDS)

    # --- planning -------------------------------------------------------------------------------------------

    def _plan_when_due(self) -> None:
        job = self._loop.next_job(self._now()) if self._loop is not None else None
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
        if not self.get_parameter("markers").value or self._marker_topic.get_subscription_count() == 0:
            return
        arm, stamp = self._settings.arm, self.get_clock().now().to_msg()
        safety = self._settings.safety.config(arm)
        self._marker_topic.publish(
            plan_markers(job.state, action.values, self._last_iteration, safety, arm.base_link, stamp)
        )

    # --- what the control loop puts out ---------------------------------------------------------------------

    def send_arm(self, command: ApprovedCommand) -> None:
        """Publishes an approved command: the only place that does."""
        self._arm_topic.publish(arm_message(command.sent, self._settings.arm.joints))

    def send_gripper(self, closedness: float) -> None:
        """Publishes where the fingers should go."""
        gripper = self._settings.arm.gripper()
        if gripper.joints:
            seconds = self._settings.motion.gripper_seconds
            self._gripper_topic.publish(gripper_message(closedness, gripper, seconds))

    def step_taken(self, report: StepReport) -> None:
        """Sends feedback to the client whose goal it is."""
        self._events.put(lambda: self._goals.give_feedback(report))

    def goal_finished(self, goal: Hashable, result: GoalResult) -> None:
        """Ends the client's action, if the goal came from one."""
        self._events.put(lambda: self._goals.finish(goal, result))
        self._events.put(lambda: self._camera.finish(goal, result))

    # --- the watchdog ---------------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        if self._loop is not None and self.is_active:
            hung = next((self.silent_peers[name] for name in _NEEDED if name in self.silent_peers), "")
            self._loop.distrust(self._intruder or hung)
            self._loop.tick(self._now())
            self._goals.tick()
            self._plan_when_due()
        self._drain()
        self._status.publish_news(self._current_status(), self._model)

    def _drain(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            event()

    def _current_status(self) -> Status:
        if self._loop is not None:
            return self._loop.status(self._now())
        state = {"unconfigured": State.UNCONFIGURED, "active": State.IDLE}.get(self.state_name, State.INACTIVE)
        missing = self._description_refused or "robot_description: none came yet"
        reason = missing if state is not State.UNCONFIGURED else ""
        return Status.idle(state, reason)

    def _now(self) -> Moment:
        return self._moments.now()

    def _ros_time(self) -> float:
        return float(self.get_clock().now().nanoseconds / NANOSECONDS_PER_SECOND)


def main() -> int:
    """Runs the node."""
    return run_node(PlannerNode)


if __name__ == "__main__":
    sys.exit(main())

"""Simulator, encoder, predictor and planner as processes, and a test between them that can disturb what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jepa_ros.action import ReachGoal
from jepa_ros.msg import PlannerStatus, SubGoal
from jepa_ros.srv import ResetSimulation
from rclpy.action import ActionClient
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

from jepa_common.qos_profiles import camera_qos, joint_states_qos, latest_qos
from jepa_common.stamps import to_nanoseconds, to_stamp

MODULES = {
    "sim": "jepa_sim.sim_node",
    "encoder": "jepa_perception.encoder_node",
    "predictor": "jepa_world_model.predictor_node",
    "planner": "jepa_planner.planner_node",
}
# The simulator talks to this test instead of the nodes.
BEHIND_THE_TEST = {"/clock": "/own/clock"} | {
    name: f"own/{name}" for name in ("joint_states", "image", "joint_trajectory")
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "sim": {"camera_width": 64, "camera_height": 64, "joint_state_rate": 50.0},
    "encoder": {"threads": 1},
    "predictor": {"threads": 1},
    # No goal is ever reached, so that there is motion to be disturbed.
    "planner": {
        "goal.tolerance": 1e-9,
        "goal.plateau_steps": 0,
        "goal.max_steps": 100000,
        "goal.give_up_seconds": 120.0,
        # A node that starts on a busy machine takes its time.
        "goal.encode_timeout": 110.0,
        "solver.max_step": 0.04,
        "solver.samples": 16,
        "solver.iterations": 1,
        "solver.score_timeout": 1.0,
        # Below the 0.2 s of 5 Hz; otherwise as patient as possible with a busy machine.
        "safety.max_joint_state_age": 0.18,
        "safety.max_image_age": 1.0,
        "safety.max_latent_age": 1.0,
        # Long enough to see that the arm stays at rest before it goes on.
        "safety.recovery_seconds": 2.0,
    },
}


class TableOfNodes:
    """The running system. What the simulator and the planner say to each other passes through here."""

    def __init__(self, nodes: Any, processes: Any, model: str) -> None:
        self._nodes, self._processes, self._model = nodes, processes, model
        self._running: dict[str, Any] = {}
        self.offset = 0.0  # s, of the nodes' clock to the simulator's
        self._offset_before = 0.0
        self.slowest_joint_states = 0.0  # s between two that are passed on
        self.frozen: Image | None = None
        self._last_joint_state = float("-inf")
        self.image: Image | None = None
        self.speeds: list[tuple[float, float]] = []  # simulator's time, fastest joint
        self.ends: list[float] = []  # when each commanded motion is over, simulator's time
        self._open_topics()
        self.actions = nodes.run(lambda: ActionClient(nodes.client, ReachGoal, "reach_goal"))
        for name in MODULES:
            self.start(name)

    def _open_topics(self) -> None:
        client, best_effort = self._nodes.client, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.statuses = self._nodes.collect(PlannerStatus, "planner_status", latest_qos())
        self._clock = client.create_publisher(Clock, "/clock", best_effort)
        self._joints = client.create_publisher(JointState, "joint_states", joint_states_qos())
        self._images = client.create_publisher(Image, "image", camera_qos())
        self._commands = client.create_publisher(JointTrajectory, "own/joint_trajectory", latest_qos())
        client.create_subscription(Clock, "/own/clock", self._pass_clock, best_effort)
        client.create_subscription(JointState, "own/joint_states", self._pass_joints, joint_states_qos())
        client.create_subscription(Image, "own/image", self._pass_image, camera_qos())
        client.create_subscription(JointTrajectory, "joint_trajectory", self._pass_command, latest_qos())

    # --- what passes through --------------------------------------------------------------------------------

    def _shifted(self, stamp: Any, seconds: float) -> Any:
        return to_stamp(to_nanoseconds(stamp) + round(seconds * 1e9))

    def _pass_clock(self, message: Clock) -> None:
        self._clock.publish(Clock(clock=self._shifted(message.clock, self.offset)))

    def _pass_joints(self, message: JointState) -> None:
        time = to_nanoseconds(message.header.stamp) * 1e-9
        self.speeds.append((time, float(np.max(np.abs(message.velocity[:7])))))
        if abs(time - self._last_joint_state) >= self.slowest_joint_states:
            self._last_joint_state = time
            message.header.stamp = self._shifted(message.header.stamp, self.offset)
            self._joints.publish(message)

    def _pass_image(self, message: Image) -> None:
        if self.frozen is not None:
            message.data = self.frozen.data
        self.image = message
        message.header.stamp = self._shifted(message.header.stamp, self.offset)
        self._images.publish(message)

    def _pass_command(self, message: JointTrajectory) -> None:
        # A command that was under way while the clock jumped was stamped by the clock as it had been.
        stamps = [self._shifted(message.header.stamp, -offset) for offset in (self.offset, self._offset_before)]
        message.header.stamp = min(stamps, key=lambda stamp: abs(to_nanoseconds(stamp) * 1e-9 - self.time))
        length = message.points[-1].time_from_start
        self.ends.append(to_nanoseconds(message.header.stamp) * 1e-9 + length.sec + length.nanosec * 1e-9)
        self._commands.publish(message)

    # --- processes ------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Starts a node as `python -m`."""
        arguments: list[str] = []
        parameters = dict(PARAMETERS[name])
        if name == "sim":
            arguments = ["--ros-args", *(word for pair in BEHIND_THE_TEST.items() for word in ("-r", ":=".join(pair)))]
        else:
            parameters |= {"model": self._model, "autostart": True, "use_sim_time": True}
        self._running[name] = self._processes.start(MODULES[name], *arguments, ros_parameters=parameters)

    def kill(self, name: str) -> None:
        """Ends a node without a chance to say anything."""
        self._running[name].kill()
        self._running[name].wait()

    def jump(self, seconds: float) -> None:
        """Sets the nodes' clock by so much forward."""
        self._offset_before, self.offset = self.offset, self.offset + seconds

    # --- what a person sees and does ------------------------------------------------------------------------

    @property
    def status(self) -> PlannerStatus:
        return self.statuses[-1] if self.statuses else PlannerStatus()

    @property
    def time(self) -> float:
        """The simulator's, s."""
        return self.speeds[-1][0] if self.speeds else 0.0

    @property
    def moves(self) -> bool:
        return bool(self.speeds) and self.speeds[-1][1] > 0.05

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        self._nodes.wait_until(condition, lambda: f"{what}; planner: {self.status.state} {self.status.reason!r}", 120.0)

    def send_goal(self, budget: int = 0) -> Any:
        """Sends a picture of nothing as the goal; returns the client's handle."""
        picture = np.random.default_rng(7).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        image = Image(height=32, width=32, encoding="rgb8", step=96, data=picture.tobytes())
        assert self.actions.wait_for_server(60.0)
        goal = ReachGoal.Goal(goals=[SubGoal(image=image, gripper=float("nan"), max_steps=budget)])
        future = self._nodes.run(lambda: self.actions.send_goal_async(goal))
        self.wait_for(future.done, "an accepted goal")
        return future.result()

    def result(self, handle: Any) -> ReachGoal.Result:
        future = self._nodes.run(handle.get_result_async)
        self.wait_for(future.done, "a result")
        return future.result().result

    def start_moving(self, seed: int) -> Any:
        """Puts the arm to where `seed` says, and has it pursue a goal; returns the client's handle of the goal."""
        self._nodes.call(ResetSimulation, "reset_simulation", ResetSimulation.Request(seed=seed))
        handle = self.send_goal()
        self.wait_for_motion()
        return handle

    def wait_for_motion(self) -> None:
        self.wait_for(lambda: self.status.state == PlannerStatus.PLANNING and self.moves, "motion")

    def wait_for_hold(self, word: str) -> None:
        self.wait_for(
            lambda: self.status.state == PlannerStatus.HOLDING and word in self.status.reason, f"a hold for {word!r}"
        )

    def assert_rests_within(self, seconds: float, since: float) -> None:
        """The commanded motion is over `seconds` after `since`, s, and the arm follows it."""
        # The status may be heard before the command that it speaks of.
        self.wait_for(lambda: not self.speeds or self.time > since + seconds + 0.4, "time to pass")
        assert self.ends[-1] <= since + seconds + 1e-6, (self.ends[-3:], since)
        late = [speed for time, speed in self.speeds if time > since + seconds + 0.3]
        assert max(late) < 0.02

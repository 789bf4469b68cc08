"""The `franka` node: a Franka behind the topics that the planner needs, through libfranka and without franka_ros2.

Subscribes to `joint_trajectory` (as a JointTrajectoryController does) and `gripper_trajectory`; publishes
`joint_states`, `desired_joint_states`, `robot_description`, `~/guiding` and, if asked to, `/clock`. Services:
`~/recover` after a reflex, `~/stop`, `~/home_gripper`, `~/grasp`.
"""

from __future__ import annotations

import array
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from jepa_common.health import Level, Report
from jepa_common.managed_node import ManagedNode
from jepa_common.qos_profiles import latched_qos, latest_qos
from jepa_common.run_node import run_node
from jepa_common.stamps import to_nanoseconds, to_stamp
from jepa_robot.arm_link import Message
from jepa_robot.arm_process import ArmProcess
from jepa_robot.franka_description import franka_arm
from jepa_robot.franka_parameters import FrankaParameters, require_packages
from jepa_robot.hand import FrankaHand
from jepa_sim.robot_description import HAND

ANSWER_SECONDS = 3.0
# Fingers sent as far shut as this are to grasp, not to go to a width.
_SHUT = 0.95
_STALE_SECONDS = 0.5


class FrankaNode(ManagedNode[FrankaParameters]):
    """Between ROS and the processes and threads that talk to the robot.

    Threads: the executor's takes trajectories and services; the arm process's messages are published by a thread of
    their own, and so is what the hand tells.
    """

    def __init__(self, **options: Any) -> None:
        """Declares the parameters; `activate` connects."""
        super().__init__("franka", FrankaParameters, **options)

    # --- lifecycle ------------------------------------------------------------------------------------------

    def configure(self, parameters: FrankaParameters) -> None:
        """Checks what is installed and what was asked for."""
        require_packages()
        self._settings, self._arm_settings = parameters, parameters.arm_settings()
        self._epoch = time.time()
        self._state: Message = {}
        self._heard = float("-inf")
        self._counts = dict.fromkeys(("accepted", "refused", "reflex", "disconnected", "died"), 0)
        self._texts = dict.fromkeys(self._counts, "")
        self._connected = self._in_reflex = self._guided = False
        self._answers: list[Future] = []
        self._joint_states = self.publisher_while_configured(JointState, "joint_states", QoSProfile(depth=10))
        self._desired = self.publisher_while_configured(JointState, "desired_joint_states", QoSProfile(depth=10))
        self._guiding = self.publisher_while_configured(Bool, "~/guiding", latched_qos())
        description = self.publisher_while_configured(String, "robot_description", latched_qos())
        self._description = description
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._clock_topic = (
            self.publisher_while_configured(Clock, "/clock", best_effort) if parameters.clock == "robot" else None
        )

    def activate(self) -> None:
        """Connects, and listens to trajectories."""
        settings = self._settings
        self._description.publish(String(data=franka_arm(settings.robot_type).to_urdf()))
        self._guiding.publish(Bool(data=False))
        self._hand: FrankaHand | None = None
        if settings.gripper.enabled:
            self._hand = FrankaHand(settings.robot_ip, settings.gripper.config(), self._on_hand)
            self.activated.callback(self._hand.close)
        self._arm = ArmProcess(self._arm_settings, self._on_arm)
        self.activated.callback(self._arm.close)
        self.subscribe_while_active(JointTrajectory, "joint_trajectory", self._on_trajectory, latest_qos())
        self.subscribe_while_active(JointTrajectory, "gripper_trajectory", self._on_gripper, latest_qos())
        for name, serve in (("recover", self._recover), ("stop", self._stop)):
            self._offer(name, serve)
        if self._hand is not None:
            self._offer("home_gripper", partial(self._ask_hand, self._hand.home))
            self._offer("grasp", partial(self._ask_hand, partial(self._hand.grasp, None)))
        self.get_logger().info(f"connects to {settings.robot_ip}{': a dry run' if settings.dry_run else ''}")

    def _offer(self, name: str, serve: Callable[..., Any]) -> None:
        service = self.create_service(Trigger, f"~/{name}", serve)
        self.activated.callback(self.destroy_service, service)

    @property
    def arm_process_id(self) -> int:
        """The process with the control loop."""
        return self._arm.process_id

    # --- executor's thread ----------------------------------------------------------------------------------

    def _on_trajectory(self, message: JointTrajectory) -> None:
        start = to_nanoseconds(message.header.stamp) * 1e-9
        points = [
            [_seconds(point), *(list(values) for values in (point.positions, point.velocities, point.accelerations)),
             list(point.effort)]
            for point in message.points
        ]  # fmt: skip
        age = self._now() - start if start else None
        if not self._arm.send(kind="trajectory", joints=list(message.joint_names), age=age, points=points):
            self._refuse("joint_trajectory: it did not get to the control loop: too many points, or the loop is gone")

    def _now(self) -> float:
        """The time that stamps are in, s."""
        if self._settings.clock == "robot":
            return self._epoch + float(self._state.get("time", 0.0)) + time.monotonic() - self._heard
        return self.get_clock().now().nanoseconds * 1e-9

    def _refuse(self, text: str) -> None:
        self._counts["refused"] += 1
        self._texts["refused"] = text
        self.get_logger().warning(text, throttle_duration_sec=1.0)

    def _on_gripper(self, message: JointTrajectory) -> None:
        fingers = self._settings.fingers
        if self._hand is None or not message.points or not set(message.joint_names) <= set(fingers):
            self._refuse(f"gripper_trajectory: expected points for {list(fingers)}, got {list(message.joint_names)}")
        elif self._settings.dry_run:
            self._refuse("gripper_trajectory: a dry run moves nothing")
        else:
            self._order_fingers(self._hand, message.points[-1])

    def _order_fingers(self, hand: FrankaHand, point: Any) -> None:
        position = sum(point.positions) / max(len(point.positions), 1)
        if not point.positions or not 0 <= position <= max(HAND.open, HAND.closed) + 1e-3:
            self._refuse(f"gripper_trajectory: expected positions from 0 to {HAND.open} m, got {list(point.positions)}")
        elif HAND.closedness(position) >= _SHUT or any(point.effort):
            hand.grasp(max(map(abs, point.effort)) if any(point.effort) else None)
        else:
            hand.move(2 * position)

    async def _recover(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return await self._ask_arm("recover", response)

    async def _stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return await self._ask_arm("stop", response)

    async def _ask_arm(self, kind: str, response: Trigger.Response) -> Trigger.Response:
        answer = Future(executor=self.executor)
        self._answers.append(answer)
        timer = self.create_timer(ANSWER_SECONDS, lambda: self._answer("", "the control loop does not answer"))
        self._arm.send(kind=kind)
        response.success, response.message = await answer
        self.destroy_timer(timer)
        return response

    def _answer(self, kind: str, text: str) -> None:
        answers, self._answers = self._answers, []
        for answer in answers:
            answer.set_result((kind in ("recovered", "stopped"), text))

    async def _ask_hand(
        self,
        order: Callable[[Callable[[bool, str], None]], None],
        _: Trigger.Request,
        response: Trigger.Response,
    ) -> Trigger.Response:
        if self._settings.dry_run:
            response.message = "a dry run moves nothing"
            return response
        answer = Future(executor=self.executor)
        order(lambda ok, text: answer.set_result((ok, text)))
        response.success, response.message = await answer
        return response

    # --- threads of arm and hand ----------------------------------------------------------------------------

    def _on_arm(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "state":
            self._publish(message)
            return
        text = message["text"]
        if kind in self._counts:
            self._counts[kind] += 1
            self._texts[kind] = text
        if kind == "accepted":
            self.health.succeeded(0.0)
            return
        if kind == "connected":
            self._connected = True
        elif kind in ("disconnected", "died"):
            self._connected = False
        self._tell(kind, text)
        if kind in ("recovered", "not recovered", "stopped", "disconnected"):
            self._answer(kind, text)

    def _tell(self, kind: str, text: str) -> None:
        log = self.get_logger()
        if kind in ("reflex", "disconnected", "died", "not recovered"):
            log.error(f"{kind}: {text}", throttle_duration_sec=2.0)
        elif kind == "refused":
            log.warning(text, throttle_duration_sec=1.0)
        else:
            log.info(f"{kind}: {text}")

    def _publish(self, state: Message) -> None:
        self._state, self._heard = state, time.monotonic()
        try:
            self._publish_joints(state)
        except rclpy_implementation.RCLError:
            if self.context.ok():
                raise
            return  # the node is being ended while the arm still reports
        self._notice_guiding(state["mode"] == "Guiding")

    def _publish_joints(self, state: Message) -> None:
        if self._clock_topic is not None:
            stamp = to_stamp(round((self._epoch + state["time"]) * 1e9))
            self._clock_topic.publish(Clock(clock=stamp))
        else:
            stamp = self.get_clock().now().to_msg()
        fingers = self._settings.fingers
        width = self._hand.state.width if self._hand else 0.0
        count = len(fingers) if width == width else 0  # NaN as long as the hand is not connected
        message = JointState(name=[*self._settings.joints, *fingers[:count]])
        message.header.stamp = stamp
        message.position = array.array("d", [*state["positions"], *[width / 2] * count])
        message.velocity = array.array("d", [*state["velocities"], *[0.0] * count])
        self._joint_states.publish(message)
        desired = JointState(name=list(self._settings.joints), position=array.array("d", state["desired"]))
        desired.header.stamp = stamp
        self._desired.publish(desired)

    def _notice_guiding(self, guided: bool) -> None:
        if guided != self._guided:
            self._guided = guided
            self._guiding.publish(Bool(data=guided))
            self.get_logger().info("the arm is led by hand" if guided else "the arm is no longer led by hand")

    def _on_hand(self, text: str) -> None:
        self.get_logger().info(text)

    # --- diagnostics ----------------------------------------------------------------------------------------

    def diagnose(self) -> Report:
        """Mode, errors, reflexes, and how well commands arrive."""
        level, message = self._condition()
        return Report(level, message, {**self._arm_values(), **self._hand_values()})

    def _condition(self) -> tuple[Level, str]:
        mode = self._state.get("mode", "")
        if not self._connected:
            return Level.ERROR, f"not connected: {self._texts['disconnected'] or self._texts['died'] or 'it connects'}"
        if time.monotonic() - self._heard > _STALE_SECONDS:
            return Level.ERROR, "the robot sends no states"
        if mode == "Reflex":
            return Level.ERROR, f"stopped by a reflex: {self._texts['reflex'] or self._state['errors']}; call ~/recover"
        if mode in ("UserStopped", "Other"):
            return Level.WARN, f"mode {mode}: expected Idle; see Desk"
        if mode == "Guiding":
            return Level.WARN, "the arm is led by hand"
        if self._hand is not None and self._hand.state.level > Level.OK:
            return self._hand.state.level, self._hand.state.message
        return Level.OK, "moves" if self._state.get("moving") else "rests"

    def _arm_values(self) -> dict[str, str]:
        state = self._state
        return {
            "robot_mode": str(state.get("mode", "")),
            "errors": str(state.get("errors", "")),
            "control_command_success_rate": f"{state.get('success', 0.0):.3f}",
            "cycles": str(state.get("cycles", 0)),
            "cycles_resumed": str(state.get("lost", 0)),
            "longest_wait_ms": f"{state.get('longest_gap', 0.0) * 1e3:.1f}",
            "trajectories": str(self._counts["accepted"]),
            "refused_trajectories": str(self._counts["refused"]),
            "last_refusal": self._texts["refused"],
            "reflexes": str(self._counts["reflex"]),
            "last_reflex": self._texts["reflex"],
            "connections_lost": str(self._counts["disconnected"]),
            "loop_restarts": str(self._counts["died"]),
        }

    def _hand_values(self) -> dict[str, str]:
        if self._hand is None:
            return {}
        state = self._hand.state
        return {
            "gripper_width": f"{state.width:.4f}",
            "gripper_holds": str(state.holds).lower(),
            "gripper": state.message,
        }


def _seconds(point: Any) -> float:
    return float(point.time_from_start.sec + point.time_from_start.nanosec * 1e-9)


def main() -> int:
    """Runs the node."""
    return run_node(FrankaNode)


if __name__ == "__main__":
    sys.exit(main())

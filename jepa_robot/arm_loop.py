"""The process that talks to a Franka's control box: libfranka's loop of a thousand commands a second, and nothing else.

It is a process of its own because pylibfranka keeps Python's lock while it waits for the robot: in the node's process,
ROS would stand still, and whatever ROS does would come between two commands. It has no ROS, no threads and no garbage
collection, is given real-time priority where that is allowed, and outlives the node: when that dies, the arm is brought
to rest before the connection ends.

    python -m jepa_robot.arm_loop SOCKET SETTINGS        (the `franka` node starts it)

While nothing moves, only the robot's state is read. The first trajectory starts the control loop, from where the robot
says that it is commanded to be. In the loop each command is ready before the robot asks for it. Where commands did not
arrive in time, the robot carries on with the last acceleration and says where that led: the filter continues from
there, because the position of the plan would be a jump by then.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pylibfranka as fci

from jepa_planner.limits import TABLES
from jepa_planner.motion import MotionState
from jepa_robot.arm_link import Link, LinkClosedError, Message
from jepa_robot.arm_settings import ArmSettings
from jepa_robot.command_filter import PERIOD, CommandFilter
from jepa_robot.fci_errors import explained
from jepa_sim.robot_description import JointLimits
from jepa_sim.trajectory_controller import (
    Replacement,
    Trajectory,
    TrajectoryController,
    TrajectoryControllerConfig,
    TrajectoryPoint,
    TrajectoryRefusedError,
)

Vector = npt.NDArray[np.float64]

RECONNECT_SECONDS = 1.0
PRIORITY = 80
# What the robot says that it was commanded differs by less from what it was commanded, rad: of a motion that
# accelerates libfranka makes a ten-millionth of a radian less.
_SAME = 1e-6
_REFUSED = (fci.CommandException, fci.InvalidOperationException)


class ArmLoop:
    """One arm. Everything runs on one thread."""

    def __init__(self, link: Link, settings: ArmSettings) -> None:
        self._link = link
        self._settings = settings
        limits = settings.margins.apply(TABLES[settings.robot](settings.joints))
        self._filter = CommandFilter(limits, settings.margins.velocity)
        rows = zip(limits.lower, limits.upper, limits.velocity, limits.acceleration, limits.jerk, strict=True)
        self._controller = TrajectoryController(
            settings.joints,
            [JointLimits(*map(float, (*row, 0.0))) for row in rows],
            TrajectoryControllerConfig(Replacement(settings.replacement)),
        )
        self._time = 0.0
        self._robot_time = float("nan")
        self._commanded_at = 0.0
        self._first: Message | None = None
        self._leaving = False
        self._halt = ""
        self._cycles = self._lost = self._reports = 0
        self._longest_gap = 0.0

    def run(self) -> None:
        """Connects, and connects again, until the node says to leave or is gone."""
        while not self._leaving:
            try:
                robot = fci.Robot(self._settings.address, self._realtime())
                self._prepare(robot)
                self._serve(robot)
            except (fci.NetworkException, fci.RealtimeException, fci.FrankaException) as error:
                self._say("disconnected", str(error))
                self._wait(RECONNECT_SECONDS)

    def _realtime(self) -> fci.RealtimeConfig:
        return fci.RealtimeConfig.kEnforce if self._settings.enforce_realtime else fci.RealtimeConfig.kIgnore

    def _wait(self, seconds: float) -> None:
        """Without a robot there is nothing to tell it, but the node may go."""
        end = time.monotonic() + seconds
        while not self._leaving and time.monotonic() < end:
            for message in self._messages():
                self._say("refused", f"{message['kind']}: not connected to {self._settings.address}")
            time.sleep(0.02)

    def _prepare(self, robot: fci.Robot) -> None:
        settings = self._settings
        self._robot_time = float("nan")
        try:
            robot.set_collision_behavior(
                settings.contact_torque, settings.collision_torque, settings.contact_force, settings.collision_force
            )
            robot.set_joint_impedance(settings.joint_impedance)
        except _REFUSED as error:
            self._say("refused", f"collision behaviour and impedance: {error}")
        self._say("connected", f"connected to {settings.address}")

    # --- at rest --------------------------------------------------------------------------------------------

    def _serve(self, robot: fci.Robot) -> None:
        """Reads states until there is something to do."""
        while not self._leaving:
            state = robot.read_once()
            self._take_time(state)
            self._report(state, moving=False)
            for message in self._messages():
                self._answer(robot, state, message)
            if self._first is not None:
                self._control(robot)

    def _take_time(self, state: fci.RobotState) -> None:
        now = state.time.to_sec()
        if now > self._robot_time:
            self._time += now - self._robot_time
        self._robot_time = now

    def _answer(self, robot: fci.Robot, state: fci.RobotState, message: Message) -> None:
        if message["kind"] == "recover":
            self._recover(robot)
        elif message["kind"] == "stop":
            self._say("stopped", "the arm rests")
        elif message["kind"] == "trajectory":
            why = self._why_not_now(state)
            if why:
                self._say("refused", f"joint_trajectory: {why}")
            else:
                self._first = message

    def _why_not_now(self, state: fci.RobotState) -> str:
        if self._settings.dry_run:
            return "a dry run moves nothing"
        if state.robot_mode not in (fci.RobotMode.Idle, fci.RobotMode.Move):
            return f"the robot is in mode {state.robot_mode.name}, expected Idle: {_MODES[state.robot_mode.name]}"
        return ""

    def _recover(self, robot: fci.Robot) -> None:
        try:
            robot.automatic_error_recovery()
        except _REFUSED as error:
            self._say("not recovered", str(error))
        else:
            self._say("recovered", "errors are cleared")

    # --- in control -----------------------------------------------------------------------------------------

    def _control(self, robot: fci.Robot) -> None:
        """One spell of the control loop, from the first trajectory until the arm has rested for a while."""
        try:
            self._drive(robot.start_joint_position_control(fci.ControllerMode.JointImpedance))
        except fci.ControlException as error:
            self._say("reflex", explained(str(error)))
        except _REFUSED as error:
            self._say("refused", f"joint_trajectory: {error}")
        finally:
            self._first, self._halt = None, ""

    def _drive(self, loop: fci.ActiveControlBase) -> None:
        state, step = loop.readOnce()
        self._advance(state, step)
        command = np.array(state.q_d)
        self._filter.rest_at(command)
        self._controller.reset(command, self._time)
        self._accept(self._first)
        while True:
            over = self._is_over()
            self._write(loop, command, over)
            if over:
                return
            self._report(state, moving=True)
            for message in self._messages():
                self._obey(message)
            self._watch()
            ahead = self._next(self._time + PERIOD)
            began = time.perf_counter()
            state, step = loop.readOnce()
            self._longest_gap = max(self._longest_gap, time.perf_counter() - began)
            arrived = self._advance(state, step) and np.abs(np.array(state.q_d) - command).max() < _SAME
            command = ahead if arrived else self._resumed(state)

    def _write(self, loop: fci.ActiveControlBase, position: Vector, last: bool) -> None:
        command = fci.JointPositions(position.tolist())
        command.motion_finished = last
        loop.writeOnce(command)
        self._cycles += 1

    def _advance(self, state: fci.RobotState, step: fci.Duration) -> bool:
        """Notes the time; returns whether it is the very next cycle."""
        self._robot_time = state.time.to_sec()
        self._time += step.to_sec()
        return bool(step.to_sec() < 1.5 * PERIOD)

    def _resumed(self, state: fci.RobotState) -> Vector:
        """The command after some did not arrive: from where the robot got to meanwhile."""
        self._lost += 1
        self._filter.continue_from(np.array(state.q_d), np.array(state.dq_d), np.array(state.ddq_d))
        return self._next(self._time)

    def _next(self, moment: float) -> Vector:
        if self._halt:
            return self._filter.brake()
        wanted = self._controller.sample(moment)
        return self._filter.follow(MotionState(wanted.positions, wanted.velocities, wanted.accelerations))

    def _is_over(self) -> bool:
        if not self._filter.rests or self._halt:
            return False
        rested = self._time - self._controller.end()
        return rested >= 0 if self._leaving else rested > self._settings.hold_seconds

    def _obey(self, message: Message) -> None:
        if message["kind"] == "trajectory":
            if self._halt:
                self._say("refused", f"joint_trajectory: the arm is being stopped: {self._halt}")
            else:
                self._accept(message)
        elif message["kind"] == "stop":
            self._halt = "asked to"
        else:
            self._say("not recovered", "the arm is under control: there is nothing to recover from")

    def _accept(self, message: Message | None) -> None:
        if message is None:
            return
        try:
            self._controller.accept(_trajectory(message, self._time), self._time)
        except TrajectoryRefusedError as error:
            self._say("refused", f"joint_trajectory: {error}")
        else:
            self._commanded_at = self._time
            self._say("accepted", "")

    def _watch(self) -> None:
        """Stops an arm whose commander is gone; afterwards it rests where it stopped."""
        timeout = self._settings.command_timeout
        if self._halt:
            if self._filter.rests:
                self._controller.reset(self._filter.state.position, self._time)
                self._say("stopped", f"the arm was stopped: {self._halt}")
                self._halt = ""
        elif self._time < self._controller.end():
            if self._leaving:
                self._halt = "the node ends"
            elif timeout and self._time - self._commanded_at > timeout:
                self._halt = f"no command for {timeout:g} s, while the last trajectory was not over"

    # --- to and from the node -------------------------------------------------------------------------------

    def _messages(self) -> list[Message]:
        """What the node said since the last time; an end of the node is noted."""
        received: list[Message] = []
        try:
            while (message := self._link.receive()) is not None:
                received.append(message)
        except LinkClosedError:
            self._leaving = True
        self._leaving |= any(message["kind"] == "leave" for message in received)
        return [message for message in received if message["kind"] != "leave"]

    def _say(self, kind: str, text: str) -> None:
        self._send(kind=kind, text=text)

    def _report(self, state: fci.RobotState, moving: bool) -> None:
        self._reports += 1
        if self._reports % self._settings.cycles_per_report == 0:
            self._send(
                kind="state", time=self._time, moving=moving, mode=state.robot_mode.name, positions=state.q,
                velocities=state.dq, desired=state.q_d, efforts=state.tau_J, errors=str(state.current_errors),
                success=state.control_command_success_rate, cycles=self._cycles, lost=self._lost,
                longest_gap=self._longest_gap,
            )  # fmt: skip

    def _send(self, **message: Any) -> None:
        try:
            self._link.send(**message)
        except LinkClosedError:
            self._leaving = True


_MODES = {
    "Other": "is it in Execution, with FCI active and the joints unlocked? see Desk",
    "Guiding": "it is being led by hand; let go of the enabling button",
    "Reflex": "it stopped by a reflex; clear the way and call ~/recover",
    "UserStopped": "the user stop is pressed; release it, then call ~/recover",
    "AutomaticErrorRecovery": "it is recovering; wait",
}


def _trajectory(message: Message, now: float) -> Trajectory:
    """The trajectory in the loop's time; `age` says how long before now it begins, None begins now."""
    start = 0.0 if message["age"] is None else max(now - message["age"], 1e-9)
    points = tuple(TrajectoryPoint(*point) for point in message["points"])
    return Trajectory(start=start, joint_names=tuple(message["joints"]), points=points)


def _prioritise() -> None:
    """No pause of Python's own, and none of other processes where the system allows it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the node says when to leave, and how
    gc.freeze()
    gc.disable()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError:
        return


def main() -> int:
    """Runs until the node leaves; returns the exit code."""
    link = Link(socket.socket(fileno=int(sys.argv[1])))
    loop = ArmLoop(link, ArmSettings.from_text(sys.argv[2]))
    _prioritise()
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

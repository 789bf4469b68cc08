"""The planner's service `~/calibrate` (std_srvs/Trigger): small moves of the arm tell how the camera stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from pathlib import Path

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from jepa_planner.calibration_run import CalibrationConfig, CalibrationRun
from jepa_planner.camera_calibration import CameraCalibration, load_rotation, save_calibration
from jepa_planner.control_loop import ControlLoop
from jepa_planner.goal_machine import ErrorCode, GoalResult
from jepa_planner.goals import GoalConfig, GoalSequence, SubGoal
from jepa_planner.planner_services import ServiceRefusedError

GOAL = "camera calibration"


class CalibrationService:
    """Answers when the calibration is over; the executor serves others meanwhile.

    Threads: everything runs on the executor's thread, except `_found`, which the planner's worker calls.
    """

    def __init__(
        self, node: Node, active_loop: Callable[[], ControlLoop], configuration: Callable[[], CalibrationConfig]
    ) -> None:
        """``active_loop`` gives the loop that may act, or raises ServiceRefusedError."""
        self._node = node
        self._active_loop = active_loop
        self._configuration = configuration
        self._path: Path | None = None
        self._calibration: CameraCalibration | None = None
        self._finished: Future | None = None
        self.rotation: tuple[float, ...] = ()
        # While an answer is awaited, everything else of its callback group waits, too: it has one of its own.
        node.create_service(Trigger, "~/calibrate", self._serve, callback_group=ReentrantCallbackGroup())

    def configure(self, path: str, model: str) -> None:
        """Takes the rotation from a file for plans of ``model``; "" is no file. One that is not there is to be made.

        Raises:
            ValueError: the file holds no rotation, or another model's.
        """
        self._path, self.rotation = Path(path).expanduser() if path else None, ()
        if self._path is None:
            return
        if self._path.exists():
            self.rotation = tuple(load_rotation(self._path, model).ravel().tolist())
            self._node.get_logger().info(f"turns planned actions as {self._path} says")
        else:
            self._node.get_logger().warning(f"camera_calibration: no file {self._path} yet; jepa calibrate makes it")

    def finish(self, goal: Hashable, result: GoalResult) -> None:
        """To be told of every goal that ends; takes note of the calibration's."""
        if goal != GOAL or self._finished is None:
            return
        if result.code is ErrorCode.REACHED:
            self._keep()
        self._finished.set_result(result)
        self._finished = None

    async def _serve(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            finished = self._start()
        except ServiceRefusedError as error:
            response.message = str(error)
            return response
        result: GoalResult = await finished
        response.success = result.code is ErrorCode.REACHED
        response.message = f"{result.message}\n{self._kept()}" if response.success else result.message
        return response

    def _start(self) -> Future:
        loop = self._active_loop()
        with loop.locked():
            if loop.machine.goal is not None:
                raise ServiceRefusedError("the planner pursues a goal: stop it first (~/stop), then calibrate")
            finished = self._finished = Future(executor=self._node.executor)
            loop.machine.announce(GOAL, time.monotonic(), "")
            run = CalibrationRun(self._configuration(), self._found)
            loop.start_goal(GoalSequence((SubGoal(0),), GoalConfig()), run)
        self._node.get_logger().info("calibrates the camera: the arm makes small random moves")
        return finished

    def _found(self, calibration: CameraCalibration) -> None:
        self._calibration = calibration

    def _keep(self) -> None:
        """Uses the rotation from the next goal on, and writes it down."""
        if self._calibration is None:
            return
        self.rotation = tuple(self._calibration.rotation.ravel().tolist())
        if self._path is not None:
            save_calibration(self._calibration, self._path)

    def _kept(self) -> str:
        if self._path is None:
            return "used until the planner is configured again; to keep it, set camera_calibration to a file's path"
        return f"written to {self._path}, and used from the next goal on"

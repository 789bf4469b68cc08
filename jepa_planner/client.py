"""A Python client of the planner: show it pictures, and wait or watch until the arm is there.

with JepaPlanner() as planner:
    result = planner.reach([first_image, second_image], gripper=[0.0, 1.0])
    print(result.reached, result.message)
"""

from __future__ import annotations

import array
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import rclpy
from jepa_ros.action import ReachGoal
from jepa_ros.msg import SubGoal
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image

from jepa_planner.goal_machine import ErrorCode

Picture: TypeAlias = npt.NDArray[np.uint8] | Image


class PlannerClientError(RuntimeError):
    """The planner is not there, refused the goal, or did not answer in time; the message says which."""


@dataclass(frozen=True)
class Feedback:
    """One commanded step. energy: latent distance to the sub-goal. action: [7]. plan_seconds: wall time, s."""

    step: int
    sub_goal: int
    energy: float
    action: tuple[float, ...]
    plan_seconds: float


@dataclass(frozen=True)
class ReachResult:
    """How a goal ended. energies: before each step. steps: commanded ones."""

    code: ErrorCode
    message: str
    energies: tuple[float, ...]
    steps: int

    @property
    def reached(self) -> bool:
        """Whether the arm got there."""
        return self.code is ErrorCode.REACHED


class JepaPlanner:
    """Sends goals to a running planner, one at a time.

    Threads: messages are taken in by a thread of the client's own, or by whoever spins ``node``; the methods belong
    to another thread.
    """

    def __init__(self, node: Node | None = None, name: str = "reach_goal", wait_seconds: float = 10.0) -> None:
        """Makes a client.

        Args:
            node: one that somebody else spins; None makes a node and a thread that spins it.
            name: of the action, with its namespace if it has one.
            wait_seconds: longest wait for the planner to be there and to accept a goal, s.
        """
        self._wait_seconds = wait_seconds
        self._spinner = None if node is not None else _Spinner()
        self._node: Node = node if node is not None else self._spinner_node()
        self._client = _ReachClient(self._node, name)
        self._handle: ClientGoalHandle | None = None
        self._feedback: list[Feedback] = []
        self._result: ReachResult | None = None
        self._done = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def reach(
        self,
        images: Sequence[Picture],
        gripper: Sequence[float | None] = (),
        max_steps: Sequence[int] = (),
        tolerance: float = 0.0,
        tolerance_m: float = 0.0,
        block: bool = True,
        timeout: float | None = None,
    ) -> ReachResult | None:
        """Has the arm reach what the pictures show, one after the other.

        Args:
            images: RGB uint8 [height, width, 3], or Image messages.
            gripper: closedness 0..1 per image, None leaves it to the planner; empty leaves all.
            max_steps: step budget per image, 0 is the planner's; empty leaves all.
            tolerance: latent energy that counts as reached; 0 is the planner's.
            tolerance_m: the same as a distance, m, where the model's card tells its energy; counts before tolerance.
            block: wait for the result. Otherwise see `is_done`, `feedback` and `result`.
            timeout: longest wait for the result, s; None waits as long as it takes.

        Returns:
            The result, or None without ``block``.

        Raises:
            PlannerClientError: no planner, or no result in time (the goal goes on; see `cancel`).
            ValueError: lists of different lengths, or a picture that is none.
        """
        self._start(goal_message(images, gripper, max_steps, tolerance, tolerance_m))
        return self.result(timeout) if block else None

    @property
    def is_done(self) -> bool:
        """Whether the last goal has ended."""
        return self._done.is_set()

    @property
    def feedback(self) -> tuple[Feedback, ...]:
        """The steps of the last goal until now."""
        return tuple(self._feedback)

    def result(self, timeout: float | None = None) -> ReachResult:
        """The last goal's result; waits for it. Raises PlannerClientError when it does not come in time."""
        if self._handle is None:
            raise PlannerClientError("no goal was sent yet: call reach first")
        if not self._done.wait(timeout) or self._result is None:
            raise PlannerClientError(f"no result within {timeout} s: the goal is still being pursued")
        return self._result

    def cancel(self) -> None:
        """Ends the last goal; the arm comes to rest. Nothing happens when it has ended already."""
        if self._handle is not None and not self.is_done:
            self._on_executor(self._handle.cancel_goal_async)

    def close(self) -> None:
        """Ends the client; a goal that is being pursued goes on."""
        if self._spinner is not None:
            self._spinner.close(self._client)
            return
        # While an executor waits for a client it must not vanish: the executor's own thread ends it.
        self._on_executor(self._client.destroy)

    def _on_executor(self, function: Callable[[], Any]) -> None:
        """Has the thread that takes in messages call ``function``.

        rclpy loses an answer that comes before the thread that sent the request has taken note of it.
        """
        executor = self._node.executor
        if executor is None:
            function()
        else:
            executor.create_task(function)

    def _spinner_node(self) -> Node:
        if self._spinner is None:
            raise PlannerClientError("this client has no node of its own")
        return self._spinner.node

    def _start(self, goal: ReachGoal.Goal) -> None:
        if not self._client.wait_for_server(self._wait_seconds):
            raise PlannerClientError(
                f"no planner within {self._wait_seconds:g} s: is it running, in this ROS_DOMAIN_ID and namespace?"
            )
        self._feedback, self._result, self._done = [], None, threading.Event()
        answered, done = threading.Event(), self._done
        handles: list[ClientGoalHandle] = []

        def take_handle(answer: Any) -> None:
            handles.append(answer.result())
            if answer.result().accepted:
                answer.result().get_result_async().add_done_callback(lambda result: self._take_result(result, done))
            answered.set()

        def send() -> None:
            self._client.send_goal_async(goal, feedback_callback=self._take_feedback).add_done_callback(take_handle)

        self._on_executor(send)
        if not answered.wait(self._wait_seconds) or not handles[0].accepted:
            raise PlannerClientError("the planner did not accept the goal; see its log")
        self._handle = handles[0]

    def _take_feedback(self, message: Any) -> None:
        values = message.feedback
        self._feedback.append(
            Feedback(values.step, values.sub_goal, values.energy, tuple(values.action), values.plan_seconds)
        )

    def _take_result(self, future: Any, done: threading.Event) -> None:
        values = future.result().result
        if done is self._done:
            code = ErrorCode(values.error_code)
            self._result = ReachResult(code, values.error_msg, tuple(values.energies), values.steps)
        done.set()


def goal_message(
    images: Sequence[Picture],
    gripper: Sequence[float | None] = (),
    max_steps: Sequence[int] = (),
    tolerance: float = 0.0,
    tolerance_m: float = 0.0,
) -> ReachGoal.Goal:
    """The message of a goal sequence; see JepaPlanner.reach. Raises ValueError."""
    for name, values in (("gripper", gripper), ("max_steps", max_steps)):
        if values and len(values) != len(images):
            raise ValueError(f"{name}: expected a value for each of the {len(images)} images, got {len(values)}")
    grips = [math.nan if value is None else float(value) for value in gripper or [None] * len(images)]
    budgets = max_steps or [0] * len(images)
    goals = [
        SubGoal(image=image_message(image), gripper=grip, max_steps=budget)
        for image, grip, budget in zip(images, grips, budgets, strict=True)
    ]
    return ReachGoal.Goal(goals=goals, tolerance=float(tolerance), tolerance_m=float(tolerance_m))


def image_message(picture: Picture) -> Image:
    """An rgb8 message of an RGB picture uint8 [height, width, 3]; messages pass through. Raises ValueError."""
    if isinstance(picture, Image):
        return picture
    values: npt.NDArray[Any] = np.ascontiguousarray(picture)
    if values.ndim != 3 or values.shape[2] != 3 or values.dtype != np.uint8:
        raise ValueError(f"expected an RGB picture uint8 [height, width, 3], got {values.dtype} {values.shape}")
    height, width, _ = values.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = array.array("B", values.tobytes())
    return message


class _ReachClient(ActionClient):
    """An action client for a node that is being spun already.

    Kilted's joins its node, and with it the executor, a moment before it has the lock that the executor asks it for.
    """

    def __init__(self, node: Node, name: str) -> None:
        self._lock = threading.Lock()
        super().__init__(node, ReachGoal, name)


class _Spinner:
    """A node in a context of its own and the thread that spins it."""

    def __init__(self) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node: Node = rclpy.create_node("jepa_planner_client", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="jepa-planner-client", daemon=True)
        self._thread.start()

    def close(self, client: ActionClient) -> None:
        # An executor must not be shut down while another thread waits in it.
        # A task ends the wait; waking it alone would only make it wait again.
        self._executor.create_task(self._closing.set)
        self._thread.join()
        self._executor.shutdown()
        client.destroy()
        self.node.destroy_node()
        self._context.try_shutdown()

    def _spin(self) -> None:
        try:
            while not self._closing.is_set():
                self._executor.spin_once()
        except ExternalShutdownException:
            return

"""Where goals come in: latents on `goal_latent`, and sequences by the action `reach_goal`.

Both end in the control loop's one state machine. Images of an action's goals are shown to the encoder on
`goal_image`, and a goal is pursued when their latents have come back.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from jepa_ros.action import ReachGoal
from jepa_ros.msg import Latent
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.task import Future
from sensor_msgs.msg import Image

from jepa_common.latent_messages import LatentKind
from jepa_common.managed_node import ManagedNode
from jepa_common.qos_profiles import latched_qos
from jepa_common.rate_limit import RateLimit
from jepa_common.stamps import to_nanoseconds, to_stamp
from jepa_planner.control_loop import ControlLoop, LatentStamps, StepReport
from jepa_planner.goal_images import GoalImage, GoalImages
from jepa_planner.goal_machine import ErrorCode, GoalResult
from jepa_planner.goals import GoalConfig, GoalSequence, SubGoal
from jepa_planner.mpc import Mpc
from jepa_planner.planner_messages import GoalRefusedError, feedback_message, goal_images, result_message
from jepa_planner.planner_parameters import PlannerParameters
from jepa_world_model.model_card import ModelCard

SHOW_AGAIN_SECONDS = 1.0
LOG_PERIOD_SECONDS = 2.0
GOALS_REMEMBERED = 64
GOAL_DEPTH = 8  # sub-goals come in quick succession
GOALS_PER_SECOND = 2.0  # that take over from each other in the long run

MakeMpc = Callable[[PlannerParameters], Mpc[LatentStamps, int]]


@dataclass
class _ActionGoal:
    """A client's goal: its handle, and the future that its execution waits for."""

    handle: ServerGoalHandle
    finished: Future


@dataclass
class _Announced:
    """Goal images on their way through the encoder, and what the goal is to be pursued with."""

    images: GoalImages[Image | Latent]
    config: GoalConfig


class GoalIntake:
    """Accepts goals for `loop`, which the node sets as soon as it knows the arm.

    Threads: everything runs on the executor's thread.
    """

    def __init__(self, node: ManagedNode[PlannerParameters], make_mpc: MakeMpc) -> None:
        """Offers the action at once: it answers in every state of the node."""
        self.loop: ControlLoop | None = None
        self._node = node
        self._make_mpc = make_mpc
        self._clients: dict[Hashable, _ActionGoal] = {}
        self._announced: _Announced | None = None
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._limit = RateLimit[int](GOALS_PER_SECOND, GOAL_DEPTH)
        self._last_stamp = 0
        self._shown_again = float("-inf")
        self._declined = ""
        self._server = ActionServer(
            node,
            ReachGoal,
            "reach_goal",
            execute_callback=self._execute,
            goal_callback=lambda _: GoalResponse.ACCEPT,
            cancel_callback=self._on_cancel,
        )

    def configure(self, card: ModelCard) -> None:
        """Accepts goals for the model of ``card`` from now on; to be called from the node's `configure`."""
        self._card = card
        self._accepted = LatentKind(card.model_id, card.tokens, card.dim)
        self._image_topic = self._node.publisher_while_configured(Image, "goal_image", latched_qos())
        self._latent_topic = self._node.publisher_while_configured(Latent, "goal_latent", latched_qos())

    def activate(self) -> None:
        """Listens to the topic; to be called from the node's `activate`."""
        self._activated_at = time.time_ns()
        # rclpy hands the message's origin to a callback that takes two arguments.
        on_goal: Callable[..., None] = self._on_goal_latent
        self._node.subscribe_while_active(Latent, "goal_latent", on_goal, latched_qos(GOAL_DEPTH))

    def destroy(self) -> None:
        """Ends the action server, which rclpy leaves to its owner."""
        self._server.destroy()

    # --- the topic ------------------------------------------------------------------------------------------

    def why_refused(self, message: Latent) -> str:
        """What is wrong with a latent for the configured model; empty when nothing is."""
        expected = (1, self._accepted.tokens, self._accepted.dim)
        if message.model != self._accepted.model:
            return f"expected one of the model {self._accepted.model}, got {message.model or 'none'}"
        if tuple(message.shape) != expected:
            return f"expected the shape {expected}, got {tuple(message.shape)}"
        return ""

    def _on_goal_latent(self, message: Latent, info: dict[str, int]) -> None:
        stamp, refusal = to_nanoseconds(message.header.stamp), self.why_refused(message)
        if refusal:
            self._complain(f"goal_latent: {refusal}")
        elif self._announced is not None and self._announced.images.latent_came(stamp):
            self._start_when_complete(self._announced)
        elif stamp in self._seen:
            self._node.get_logger().debug("goal_latent: known already")
        elif info["source_timestamp"] < self._activated_at:
            self._declined = "a goal from before activation is not pursued: show it again"
            self._node.get_logger().warning(self._declined)
        elif self._limit.offer(stamp, time.monotonic()):
            self._pursue(stamp)
        else:
            self._complain("goal_latent: goals come faster than they can be pursued; the newest is")

    def _pursue(self, stamp: int) -> None:
        self._remember(stamp)
        if self.loop is None:
            self._complain("a goal came before robot_description; show it again when the planner is idle")
            return
        self._announced = None
        config = self._node.parameters().goal.config(self._card)
        with self.loop.locked():
            self.loop.machine.announce(f"topic {stamp}", time.monotonic(), "")
            self._start(self.loop, (SubGoal(stamp),), config)

    # --- the action -----------------------------------------------------------------------------------------

    async def _execute(self, handle: ServerGoalHandle) -> ReachGoal.Result:
        goal = bytes(handle.goal_id.uuid)
        client = self._clients[goal] = _ActionGoal(handle, Future())
        self._begin(goal, handle.request)
        result: GoalResult = await client.finished
        del self._clients[goal]
        if result.code is ErrorCode.REACHED:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result_message(result)

    def _begin(self, goal: Hashable, request: ReachGoal.Goal) -> None:
        """Announces the goal; it starts when the latents of all its images have come."""
        if self.loop is None or not self._node.is_active:
            reason = "robot_description never came" if self._node.is_active else "the planner is not active"
            self.finish(goal, GoalResult(ErrorCode.NOT_ACTIVE, reason))
            return
        try:
            images = goal_images(request, self._accepted)
            settings = self._node.parameters()
            config = settings.goal.config(self._card, request.tolerance, request.tolerance_m)
        except (GoalRefusedError, ValueError) as error:
            self.finish(goal, GoalResult(ErrorCode.BAD_GOAL, str(error)))
            return
        shown = self._shown(images, settings.goal.encode_timeout)
        self._announced = _Announced(shown, config)
        with self.loop.locked():
            self.loop.machine.announce(goal, time.monotonic(), shown.waits_for)

    def _shown(self, images: list[GoalImage[Image | Latent]], timeout: float) -> GoalImages[Image | Latent]:
        """The images under fresh stamps, which become the names of their latents."""
        first = max(self._node.get_clock().now().nanoseconds, self._last_stamp + 1)
        self._last_stamp = first + len(images)
        return GoalImages(images, self._show, first, timeout)

    def _show(self, message: Image | Latent, stamp: int) -> None:
        self._remember(stamp)
        message.header.stamp = to_stamp(stamp)
        topic = self._image_topic if isinstance(message, Image) else self._latent_topic
        topic.publish(message)

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        if self.loop is not None:
            with self.loop.locked():
                if self.loop.machine.goal == bytes(handle.goal_id.uuid):
                    self.loop.machine.cancel("canceled by the client")
        return CancelResponse.ACCEPT

    # --- both -----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Shows the next image when it is its turn; gives a goal up whose latents do not come. While active only."""
        waited = self._limit.due(time.monotonic())
        if waited is not None:
            self._pursue(waited)
        announced, loop = self._announced, self.loop
        if self._declined and loop is not None:
            loop.decline(self._declined)
            self._declined = ""
        if announced is None or loop is None or announced.images.complete:
            return
        with loop.locked():
            if loop.machine.goal is None or loop.machine.sequence is not None:
                return
            failure = announced.images.tick(time.monotonic())
            loop.machine.waits_for(announced.images.waits_for)
            if failure:
                loop.machine.abort(ErrorCode.BAD_GOAL, failure)

    def show_again(self, goal: int) -> None:
        """Shows the image of a goal latent, named by its stamp, to a predictor that does not hold it."""
        now = time.monotonic()
        known = self._announced is not None and goal in self._announced.images.stamps
        if self._announced is None or not known or now - self._shown_again < SHOW_AGAIN_SECONDS:
            return
        self._shown_again = now
        self._announced.images.send_again(self._announced.images.stamps.index(goal))

    def give_feedback(self, report: StepReport) -> None:
        """Tells the client about a step, if its goal came from one."""
        client = self._clients.get(report.goal)
        if client is not None:
            client.handle.publish_feedback(feedback_message(report))

    def finish(self, goal: Hashable, result: GoalResult) -> None:
        """Ends the client's action, if the goal came from one."""
        text = f"goal ended, {result.code.name.lower().replace('_', ' ')}: {result.message}"
        # Two lines of source, because rclpy ties a severity to each.
        if result.code <= ErrorCode.REPLACED:
            self._node.get_logger().info(text)
        else:
            self._node.get_logger().warning(text)
        client = self._clients.get(goal)
        if client is not None:
            client.finished.set_result(result)

    def _start_when_complete(self, announced: _Announced) -> None:
        loop = self.loop
        if loop is None or not announced.images.complete:
            return
        parts = zip(announced.images.stamps, announced.images.images, strict=True)
        goals = tuple(SubGoal(stamp, image.max_steps, image.gripper) for stamp, image in parts)
        with loop.locked():
            if loop.machine.goal is not None and loop.machine.sequence is None:
                self._start(loop, goals, announced.config)

    def _start(self, loop: ControlLoop, goals: tuple[SubGoal[int], ...], config: GoalConfig) -> None:
        loop.start_goal(GoalSequence(goals, config), self._make_mpc(self._node.parameters()))
        self._node.get_logger().info(f"pursues {len(goals)} goal image(s), tolerance {config.tolerance:.4g}")

    def _complain(self, text: str) -> None:
        self._node.health.failed(text)
        self._node.get_logger().error(text, throttle_duration_sec=LOG_PERIOD_SECONDS)

    def _remember(self, stamp: int) -> None:
        self._seen[stamp] = None
        while len(self._seen) > GOALS_REMEMBERED:
            self._seen.popitem(last=False)

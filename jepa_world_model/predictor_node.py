"""The predictor node: keeps the newest latents by stamp and scores action sequences that start from them.

Subscribes to `latent` and `goal_latent`; serves `score_actions` and `predict_latents`. Latents travel to it once,
by topic; a request names them by stamp and carries only actions. Where the checkpoint holds a picture decoder, what
the chosen plan leads to is published as pictures on `imagined/compressed` while somebody listens.
"""

from __future__ import annotations

import math
import sys
import time
from concurrent.futures import Future as WorkerFuture
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from jepa_ros.msg import Latent
from jepa_ros.srv import PredictLatents, ScoreActions
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from jepa_common.latent_messages import LatentKind, LatentRefusedError, latent_to_message, message_to_latent
from jepa_common.latest_slot_worker import LatestSlotWorker
from jepa_common.managed_node import ManagedNode
from jepa_common.parameters import parameter
from jepa_common.qos_profiles import latched_qos, latest_qos
from jepa_common.run_node import run_node
from jepa_common.stamps import to_nanoseconds, to_stamp
from jepa_common.turn_worker import TurnWorker, Work
from jepa_world_model.action_scoring import (
    ActionRequest,
    ActionScorer,
    ChosenPlan,
    Imagination,
    MalformedRequestError,
    ScoringLimits,
)
from jepa_world_model.checkpoint import DECODER
from jepa_world_model.imagined_strip import imagined_strip
from jepa_world_model.latent_store import LatentStore, StoredLatent, UnknownStampError
from jepa_world_model.model_card import AnyDistance
from jepa_world_model.picture_strip import jpeg
from jepa_world_model.world_model import WorldModel

LOG_PERIOD_SECONDS = 2.0
GOAL_DEPTH = 8  # sub-goals come in quick succession
LOOK_SECONDS = 0.05  # how soon a new plan is noticed that is to be shown

Codes = ScoreActions.Response


@dataclass(frozen=True)
class PredictorParameters:
    """Parameters of the predictor node."""

    model: str = parameter("franka-table-small", "Checkpoint: a path, or a name in models/checkpoints")
    device: str = parameter("cpu", "Device of the network: cpu, cuda or cuda:<number>")
    dtype: str = parameter("float32", "Arithmetic of the network", choices=("float32", "bfloat16", "float16"))
    threads: int = parameter(1, "CPU threads of a rollout; 0 leaves it to torch", minimum=0, maximum=256)
    region: tuple[float, ...] = parameter(
        (), "Part of the picture that energies look at: left, top, right, bottom as shares of it; empty: all"
    )
    gripper_weight: float = parameter(
        0.0,
        "Metres that a full stroke of the gripper counts in the distance metric_gripper; 0: the model card's",
        minimum=0.0,
        maximum=1.0,
    )
    distance: str = parameter(
        "",
        "How energies compare latents unless a request says it; empty: the card's",
        choices=get_args(AnyDistance),
    )
    latents_kept: int = parameter(32, "Camera latents that requests can name", minimum=1, maximum=4096)
    goals_kept: int = parameter(32, "Goal latents that requests can name", minimum=1, maximum=4096)
    max_samples: int = parameter(8192, "Action sequences that one request may hold", minimum=1)
    max_seconds: float = parameter(
        30.0, "Time that one request may take, as measured on its first part, s", minimum=0.1, maximum=3600.0
    )
    max_waiting: int = parameter(4, "Requests that may wait for the model", minimum=1, maximum=64)
    imagined_rate: float = parameter(
        2.0,
        "Pictures of what the chosen plan leads to: at most so many strips per second while somebody listens; 0: none",
        minimum=0.0,
        maximum=30.0,
    )


class _RefusedError(RuntimeError):
    """The request gets this error code and message for an answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class PredictorNode(ManagedNode[PredictorParameters]):
    """Serves requests on a thread of its own, in turns, so that a short one does not wait for a long one.

    The services answer in every state: while the node is not active, with the code NOT_ACTIVE.
    """

    def __init__(self, **options: Any) -> None:
        """Declares the parameters and offers the services; `configure` loads the model."""
        super().__init__("predictor", PredictorParameters, **options)
        self._waiting = 0
        # Requests wait here, and nothing else: the life cycle, parameters and latents do not wait for them.
        group = ReentrantCallbackGroup()
        self.create_service(ScoreActions, "score_actions", self._on_score_actions, callback_group=group)
        self.create_service(PredictLatents, "predict_latents", self._on_predict_latents, callback_group=group)

    def configure(self, parameters: PredictorParameters) -> None:
        """Loads the predictor's weights."""
        if parameters.threads:
            torch.set_num_threads(parameters.threads)
        model = WorldModel.load(
            parameters.model, device=parameters.device, dtype=parameters.dtype, parts=("predictor", DECODER)
        )
        model = model.measured_by(parameters.distance).looking_at(parameters.region)
        model = model.weighing_gripper(parameters.gripper_weight)
        card = model.card
        self._accepted = LatentKind(card.model_id, card.tokens, card.dim)
        self._max_waiting = parameters.max_waiting
        self._scorer = ActionScorer(
            model,
            LatentStore(parameters.latents_kept, "latent"),
            LatentStore(parameters.goals_kept, "goal latent"),
            ScoringLimits(samples=parameters.max_samples, seconds=parameters.max_seconds),
        )
        self._worker = TurnWorker("predictor")
        self.configured.callback(self._worker.stop)
        self._show = None
        if model.decoder is not None and parameters.imagined_rate > 0:
            self._show = _PlanPictures(self, model, 1.0 / parameters.imagined_rate)
        self.get_logger().info(f"predicts with {card.model_id} on {parameters.device}")

    def activate(self) -> None:
        """Listens to the latents."""
        contexts, goals = self._scorer.contexts, self._scorer.goals
        self.activated.callback(self._worker.drop)
        self.subscribe_while_active(Latent, "latent", lambda message: self._keep(message, contexts), latest_qos())
        self.subscribe_while_active(
            Latent, "goal_latent", lambda message: self._keep(message, goals), latched_qos(GOAL_DEPTH)
        )
        if self._show is not None:
            show, scorer = self._show, self._scorer
            clock = Clock(clock_type=ClockType.STEADY_TIME)
            timer = self.create_timer(LOOK_SECONDS, lambda: show.look(scorer), clock=clock)
            self.activated.callback(self.destroy_timer, timer)

    # --- latents ---------------------------------------------------------------------------------

    def _keep(self, message: Latent, store: LatentStore) -> None:
        try:
            latent = message_to_latent(message, self._accepted)
            if latent.shape[0] != 1:
                raise LatentRefusedError(f"latent: expected that of 1 frame, got {latent.shape[0]} frames")
        except LatentRefusedError as error:
            self.health.failed(str(error))
            self.get_logger().error(str(error), throttle_duration_sec=LOG_PERIOD_SECONDS)
            return
        store.add(StoredLatent(to_nanoseconds(message.header.stamp), latent[0], message.header.frame_id))

    # --- services --------------------------------------------------------------------------------

    async def _on_score_actions(
        self, request: ScoreActions.Request, response: ScoreActions.Response
    ) -> ScoreActions.Response:
        def score() -> Work:
            scores = yield from self._scorer.scoring(
                _action_request(request),
                to_nanoseconds(request.goal_stamp),
                request.distance,
                request.sum_over_horizon,
            )
            response.energies = scores.energies
            response.current_energy = scores.current_energy
            response.surprise = scores.surprise
            response.gripper_change = scores.gripper_change
            response.seconds = scores.seconds
            self.health.succeeded(scores.seconds)
            self.health.measured("surprise", scores.surprise)

        response.surprise = response.current_energy = response.gripper_change = float("nan")
        await self._answer(response, score())
        return response

    async def _on_predict_latents(
        self, request: PredictLatents.Request, response: PredictLatents.Response
    ) -> PredictLatents.Response:
        def imagine() -> Work:
            imagination = yield from self._scorer.imagining(_action_request(request))
            response.latents = _latent_messages(imagination, self._accepted.model)
            response.states = imagination.states.ravel()

        await self._answer(response, imagine())
        return response

    async def _answer(self, response: Any, work: Work) -> None:
        """Runs `work`, which fills the response, on the model's thread; errors become a code and a message."""
        try:
            await self._on_model_thread(work)
            response.model = self._accepted.model
        except _RefusedError as error:
            response.error_code, response.error_msg = error.code, str(error)
            self.health.failed(str(error))
            self.get_logger().warning(str(error), throttle_duration_sec=LOG_PERIOD_SECONDS)

    async def _on_model_thread(self, work: Work) -> None:
        """Waits for `work` without holding the executor up.

        Raises:
            _RefusedError: the node is not active, too many requests wait, or the work failed.
        """
        if not self.is_active:
            raise _RefusedError(Codes.NOT_ACTIVE, f"predictor is {self.state_name}: configure and activate it first")
        if self._waiting >= self._max_waiting:
            raise _RefusedError(
                Codes.MODEL_ERROR, f"{self._waiting} requests wait already: send the next after an answer"
            )
        self._waiting += 1
        try:
            error = await self._outcome(self._worker.submit(work))
        finally:
            self._waiting -= 1
        if error is not None:
            raise _RefusedError(_error_code(error), str(error)) from error

    def _outcome(self, worker_future: WorkerFuture[None]) -> Future:
        """A future that the executor can await: None, or the exception that the work raised."""
        executor = self.executor
        outcome = Future(executor=executor)

        def pass_on(done: WorkerFuture[None]) -> None:
            cancelled = RuntimeError("the predictor was deactivated before the request was answered")
            outcome.set_result(cancelled if done.cancelled() else done.exception())
            if executor is not None:
                executor.wake()

        worker_future.add_done_callback(pass_on)
        return outcome


class _PlanPictures:
    """Publishes pictures of the chosen plan: only while somebody listens, not more often than asked for.

    The executor's thread looks; a thread of its own rolls out and draws, so that no request waits for a picture.
    """

    def __init__(self, node: PredictorNode, model: WorldModel, seconds: float) -> None:
        """``seconds`` lie between two strips, at least."""
        # A copy, because a model serves one thread at a time; it shares the weights.
        self._node, self._model, self._seconds = node, replace(model), seconds
        self._shown: ChosenPlan | None = None
        self._shown_at = -math.inf
        self._publisher = node.publisher_while_configured(CompressedImage, "imagined/compressed", latest_qos())
        self._worker = LatestSlotWorker[ChosenPlan]("imagined", self._publish, self._report)
        node.configured.callback(self._worker.stop)

    def look(self, scorer: ActionScorer) -> None:
        """Has a plan drawn that is new, if it is time."""
        now = time.monotonic()
        if now - self._shown_at < self._seconds or not self._publisher.get_subscription_count():
            return
        plan = scorer.chosen(now)
        if plan is not None and plan is not self._shown:
            self._shown, self._shown_at = plan, now
            self._worker.submit(plan)

    def _publish(self, plan: ChosenPlan) -> None:
        data = jpeg(imagined_strip(self._model, plan))
        header = Header(stamp=to_stamp(plan.now.stamp), frame_id=plan.now.frame_id)
        self._publisher.publish(CompressedImage(header=header, format="jpeg", data=data))

    def _report(self, error: Exception) -> None:
        if self._node.context.ok():
            self._node.get_logger().error(f"imagined: {error}", throttle_duration_sec=LOG_PERIOD_SECONDS)


def _error_code(error: BaseException) -> int:
    """The response's code of an exception that scoring raises."""
    if isinstance(error, MalformedRequestError):
        return int(Codes.MALFORMED_REQUEST)
    if isinstance(error, UnknownStampError):
        return int(Codes.UNKNOWN_GOAL if error.store == "goal latent" else Codes.UNKNOWN_CONTEXT)
    return int(Codes.MODEL_ERROR)


def _action_request(request: ScoreActions.Request | PredictLatents.Request) -> ActionRequest:
    return ActionRequest(
        context_stamps=tuple(to_nanoseconds(stamp) for stamp in request.context_stamps),
        states=np.asarray(request.states),
        samples=request.samples,
        horizon=request.horizon,
        action_dim=request.action_dim,
        actions=np.asarray(request.actions),
    )


def _latent_messages(imagination: Imagination, model: str) -> list[Latent]:
    """One message for each sample and step, samples first."""
    headers = [Header(stamp=to_stamp(stamp), frame_id=imagination.frame_id) for stamp in imagination.stamps]
    return [
        latent_to_message(latent[None], header, model)
        for sample in imagination.latents
        for latent, header in zip(sample, headers, strict=True)
    ]


def main() -> int:
    """Runs the node."""
    return run_node(PredictorNode)


if __name__ == "__main__":
    sys.exit(main())

"""Energies by service: the cost of actions, asked of the predictor node. To be used on a worker thread."""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from jepa_ros.srv import ScoreActions
from rclpy.client import Client

from jepa_common.service_calls import ServiceCallError, call_and_wait
from jepa_common.stamps import to_stamp
from jepa_planner.control_loop import LatentStamps, PlanningError
from jepa_planner.cost import Assessment
from jepa_planner.solvers.base import ACTION_DIM, Array

Floats = npt.NDArray[np.float64]
# A latent reaches the planner and the predictor at nearly the same time, and either may be first.
_RETRIES = 5
_RETRY_SECONDS = 0.01
# Fewer actions say more about what a call costs than about what an action does.
_TELLING = 8
# Numbers of the same network differ by less from answer to answer, as a share.
_TOLERANCE = 0.01


class PredictorRefusedError(PlanningError):
    """The predictor answered with an error code of ScoreActions."""

    def __init__(self, code: int, message: str) -> None:
        """``code``: see jepa_ros/srv/ScoreActions."""
        super().__init__(f"predictor: {message}")
        self.code = code


@dataclass(frozen=True)
class ServiceCostConfig:
    """How the predictor is asked.

    model: "<name>@<version>" that must answer. distance: "" takes the model card's.
    timeout: longest wait for one answer, s.
    """

    model: str
    distance: str = ""
    sum_over_horizon: bool = False
    timeout: float = 2.0


class ScoreRate:
    """How fast the predictor scores, from its own word. Not thread-safe: a number too old does no harm."""

    def __init__(self) -> None:
        self._actions_per_second = float("inf")

    def learn(self, actions: int, seconds: float) -> None:
        """``actions`` (samples times horizon) took ``seconds`` in the model."""
        if seconds > 0 and actions >= _TELLING:
            self._actions_per_second = actions / seconds

    def seconds(self, actions: int) -> float:
        """About how long as many would take; 0 before anything was scored."""
        return actions / self._actions_per_second


@dataclass(frozen=True)
class ServiceCosts:
    """Makes costs of one `score_actions` client; see CostFactory. A goal is the stamp of its latent, ns.

    ``lost_goal`` is told, on the calling thread, which goal the predictor does not hold, as after a restart.
    """

    client: Client
    config: ServiceCostConfig
    lost_goal: Callable[[int], None]
    rate: ScoreRate = field(default_factory=ScoreRate)

    def __call__(self, observation: LatentStamps, state: Array, goal: int) -> ServiceCost:
        """The cost of acting from ``observation``; ``state`` is its newest one already."""
        return ServiceCost(self, observation, np.asarray(state, dtype=np.float64), goal)


class ServiceCost:
    """Cost of action sequences from one observation toward one goal. Every call is a service call."""

    def __init__(self, costs: ServiceCosts, observation: LatentStamps, state: Floats, goal: int) -> None:
        """See ServiceCosts."""
        self._costs = costs
        self._stamps = [to_stamp(stamp) for stamp in observation.stamps]
        self._states = np.concatenate([observation.states[:-1].ravel(), state])
        self._goal = goal
        self._assessment: Assessment | None = None

    def __call__(self, actions: Array) -> Floats:
        """Energies [samples] of ``actions`` [samples, horizon, action_dim]. Raises PlanningError."""
        response = self._ask(actions)
        self._costs.rate.learn(actions.shape[0] * actions.shape[1], response.seconds)
        self._check_consistent(float(response.current_energy))
        self._assessment = Assessment(
            float(response.current_energy), float(response.surprise), float(response.gripper_change)
        )
        return np.asarray(response.energies, dtype=np.float64)

    def _check_consistent(self, energy_now: float) -> None:
        """Every answer says again how far now is from the goal: it does not change while one action is planned."""
        known = self._assessment
        if known is not None and abs(energy_now - known.energy) > _TOLERANCE * max(abs(known.energy), abs(energy_now)):
            raise PlanningError(
                f"predictor: said that one latent is {known.energy:.4g} from the goal, and then {energy_now:.4g}: does "
                "more than one predictor answer?"
            )

    def assess(self) -> Assessment:
        """Energy and surprise of now. Raises PlanningError."""
        if self._assessment is None:
            self(np.zeros((1, 1, ACTION_DIM)))
        if self._assessment is None or not np.isfinite(self._assessment.energy):
            raise PlanningError("predictor: the energy of now is not finite; check the goal image and the model")
        return self._assessment

    def _ask(self, actions: Array) -> ScoreActions.Response:
        request = self._request(actions)
        for attempt in range(_RETRIES):
            response = self._answer(request)
            if response.error_code != ScoreActions.Response.UNKNOWN_CONTEXT or attempt == _RETRIES - 1:
                break
            time.sleep(_RETRY_SECONDS)
        self._check(response, len(actions))
        return response

    def _request(self, actions: Array) -> ScoreActions.Request:
        samples, horizon, action_dim = actions.shape
        request = ScoreActions.Request(
            context_stamps=self._stamps,
            goal_stamp=to_stamp(self._goal),
            samples=samples,
            horizon=horizon,
            action_dim=action_dim,
            distance=self._costs.config.distance,
            sum_over_horizon=self._costs.config.sum_over_horizon,
        )
        # rclpy copies arrays in one go, and other sequences one number at a time.
        request.states = array.array("d", self._states.tobytes())
        request.actions = array.array("f", np.ascontiguousarray(actions, dtype=np.float32).tobytes())
        return request

    def _answer(self, request: ScoreActions.Request) -> ScoreActions.Response:
        try:
            return call_and_wait(self._costs.client, request, self._costs.config.timeout)
        except ServiceCallError as error:
            raise PlanningError(str(error)) from error

    def _check(self, response: ScoreActions.Response, samples: int) -> None:
        if response.error_code == ScoreActions.Response.UNKNOWN_GOAL:
            self._costs.lost_goal(self._goal)
        if response.error_code != ScoreActions.Response.OK:
            raise PredictorRefusedError(int(response.error_code), response.error_msg)
        expected = self._costs.config.model
        if response.model != expected:
            raise PlanningError(f"predictor: expected the model {expected}, it runs {response.model}")
        if len(response.energies) != samples:
            raise PlanningError(f"predictor: expected {samples} energies, got {len(response.energies)}")

"""Answers requests that name latents by stamp: energies or imagined latents of action sequences.

This is the predictor node without ROS. Whatever a request holds is checked before the model sees it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jepa_world_model.latent_store import LatentStore, StoredLatent, UnknownStampError
from jepa_world_model.model_card import Distance
from jepa_world_model.poses import integrate
from jepa_world_model.world_model import WorldModel

NANOSECONDS_PER_SECOND = 1_000_000_000
# Requests of one plan follow each other faster than this; after it, the plan is the one that was chosen.
SETTLED_SECONDS = 0.1
# An action is taken to have been executed when what it led to was seen about one control period later.
PERIOD_TOLERANCE = 0.5
# Actions per second that a model is taken to imagine before the first were.
_FIRST_RATE = 320.0
# Weight of each new measurement of that, and the fewest samples that are worth a part of their own.
_NEW_RATE = 0.3
_SMALLEST_SLICE = 16

Floats = NDArray[np.floating]


class MalformedRequestError(ValueError):
    """The request contradicts itself or the model; the message says what was expected and what came."""


@dataclass(frozen=True)
class ScoringLimits:
    """How much one request may ask for.

    seconds: that it may take, as measured on its first part. slice_seconds: that the model works on one of its parts.
    """

    context: int = 16
    samples: int = 8192
    horizon: int = 64
    imagined: int = 256
    seconds: float = 30.0
    slice_seconds: float = 0.2


@dataclass(frozen=True)
class ActionRequest:
    """Action sequences that start from latents named by their stamps.

    Attributes:
        context_stamps: ns, oldest first; the last one is now.
        states: flat ``[context * 7]``.
        samples, horizon, action_dim: the shape of ``actions``.
        actions: flat ``[samples * horizon * action_dim]``.
    """

    context_stamps: tuple[int, ...]
    states: Floats
    samples: int
    horizon: int
    action_dim: int
    actions: Floats


@dataclass(frozen=True)
class Scores:
    """Energies of the sequences and what else the predictor knows about now.

    Attributes:
        energies: float32 ``[samples]``.
        current_energy: distance of the newest context latent to the goal.
        surprise: distance of what was last predicted for now to what came; NaN when unknown.
        gripper_change: how much further closed (-1..1) the fingers are in the goal's picture; NaN when the model cannot
            tell.
        seconds: time spent in the model.
    """

    energies: NDArray[np.float32]
    current_energy: float
    surprise: float
    gripper_change: float
    seconds: float


@dataclass(frozen=True)
class Imagination:
    """What the sequences lead to.

    Attributes:
        latents: float32 ``[samples, horizon, tokens, dim]``.
        states: ``[samples, horizon, 7]``, integrated poses.
        stamps: ns, one for each step of the horizon.
        frame_id: coordinate frame of the camera.
    """

    latents: NDArray[np.float32]
    states: NDArray[np.float64]
    stamps: tuple[int, ...]
    frame_id: str


@dataclass(frozen=True)
class _Inputs:
    """A request whose shapes, values and stamps are good."""

    context: tuple[StoredLatent, ...]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]

    @property
    def now(self) -> StoredLatent:
        return self.context[-1]

    @property
    def latents(self) -> NDArray[np.float32]:
        return np.stack([entry.latent for entry in self.context])


@dataclass(frozen=True, eq=False)
class ChosenPlan:
    """The best-scored sequence of a request, and what it starts from and leads toward.

    Attributes:
        now: the newest context latent.
        context: ``[T, tokens, dim]``. states: ``[T, 7]``.
        actions: ``[1, horizon, 7]``.
        goal: latent ``[tokens, dim]``.
        scored_at: when it was scored, s, of the monotonic clock.
    """

    now: StoredLatent
    context: NDArray[np.float32]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    goal: NDArray[np.float32]
    scored_at: float


@dataclass
class ActionScorer:
    """A world model together with the latents that its users name. One thread at a time may ask it.

    Surprise: the best-scored sequence of the last request is taken to be the one that is executed. When a later
    request's newest latent is about one control period younger, what the model had predicted for that moment is
    compared with it.
    """

    model: WorldModel
    contexts: LatentStore
    goals: LatentStore
    limits: ScoringLimits = ScoringLimits()
    _rate: float = field(default=_FIRST_RATE, init=False)
    _best: ChosenPlan | None = field(default=None, init=False)
    _before: ChosenPlan | None = field(default=None, init=False)
    _scoring: int = field(default=0, init=False)  # requests in work
    _surprise: tuple[int, float] = field(default=(0, math.nan), init=False)

    def score(
        self, request: ActionRequest, goal_stamp: int, distance: str = "", sum_over_horizon: bool = False
    ) -> Scores:
        """Energies of the sequences, in one go; see `scoring`."""
        return _result(self.scoring(request, goal_stamp, distance, sum_over_horizon))

    def scoring(
        self, request: ActionRequest, goal_stamp: int, distance: str = "", sum_over_horizon: bool = False
    ) -> Generator[None, None, Scores]:
        """Energies of the sequences: distances of their imagined futures to the goal of `goal_stamp`.

        Yields after each part, so that others get their turn.

        Raises:
            MalformedRequestError: sizes, values or the distance cannot be right, or it would take too long.
            UnknownStampError: a context latent or the goal is not held; raised by the store that lacks it.
        """
        chosen = self._distance(distance)
        inputs, goal = self._inputs(request), self._goal(goal_stamp)
        start = time.perf_counter()

        def energies(actions: NDArray[np.float32]) -> Tensor:
            return self.model.energy(inputs.latents, inputs.states, actions, goal.latent, chosen, sum_over_horizon)

        self._scoring += 1
        try:
            scores = yield from self._in_slices(energies, inputs.actions)
        finally:
            self._scoring -= 1
        surprise = self._surprise_at(inputs.now)
        self._choose(inputs, int(np.argmin(scores)), goal)
        current = self._distance_between(inputs.now.latent, goal.latent, chosen)
        change = self.model.gripper_change(inputs.now.latent, goal.latent)
        return Scores(scores, current, surprise, change, time.perf_counter() - start)

    def chosen(self, now: float) -> ChosenPlan | None:
        """The last plan that no further request refines; None before there is one. May be asked from any thread.

        A plan is searched for in several requests, each with its best sequence. The last request's counts, once a
        later moment is planned from, or nothing more has come for ``SETTLED_SECONDS`` before `now` (s, monotonic).
        """
        best = self._best
        settled = best is not None and not self._scoring and now - best.scored_at >= SETTLED_SECONDS
        return best if settled else self._before

    def _choose(self, inputs: _Inputs, best: int, goal: StoredLatent) -> None:
        if self._best is not None and self._best.now.stamp != inputs.now.stamp:
            self._before = self._best
        actions = inputs.actions[best : best + 1].copy()
        self._best = ChosenPlan(
            inputs.now, inputs.latents, inputs.states, actions, goal.latent, scored_at=time.monotonic()
        )

    def _goal(self, stamp: int) -> StoredLatent:
        """The goal of that stamp. A camera latent serves as well: a calibration asks what action led to it."""
        try:
            return self.goals.get(stamp)
        except UnknownStampError as error:
            try:
                return self.contexts.get(stamp)
            except UnknownStampError:
                raise error from None

    def _in_slices(
        self, work: Callable[[NDArray[np.float32]], Tensor], actions: NDArray[np.float32]
    ) -> Generator[None, None, NDArray[np.float32]]:
        """What ``work`` makes of ``actions`` [samples, ...], a part of the samples at a time."""
        samples, horizon = actions.shape[:2]
        parts: list[NDArray[np.float32]] = []
        done, measured, worked = 0, 0, 0.0
        while done < samples:
            size = max(_SMALLEST_SLICE, int(self._rate * self.limits.slice_seconds / horizon))
            part, start = actions[done : done + size], time.perf_counter()
            parts.append(work(part).float().cpu().numpy())
            seconds, done = time.perf_counter() - start, done + len(part)
            self._rate += _NEW_RATE * (len(part) * horizon / seconds - self._rate)
            if len(parts) > 1:  # the first may have had to warm up
                measured, worked = measured + len(part), worked + seconds
                self._check_duration(worked * samples / measured, actions.shape)
            yield
        return np.concatenate(parts)

    def _check_duration(self, seconds: float, shape: tuple[int, ...]) -> None:
        if seconds > self.limits.seconds:
            raise MalformedRequestError(
                f"{shape[0]} sequences of {shape[1]} actions would take about {seconds:.0f} s, at most "
                f"{self.limits.seconds:g} s are allowed: ask for fewer or shorter ones"
            )

    def imagine(self, request: ActionRequest) -> Imagination:
        """The latents and poses that a few sequences lead to, in one go; see `imagining`."""
        return _result(self.imagining(request))

    def imagining(self, request: ActionRequest) -> Generator[None, None, Imagination]:
        """The latents and poses that a few sequences lead to. Yields after each part, so that others get their turn.

        Raises:
            MalformedRequestError: sizes or values cannot be right, or too much is asked for.
            UnknownStampError: a context latent is not held.
        """
        if request.samples * request.horizon > self.limits.imagined:
            raise MalformedRequestError(
                f"expected at most {self.limits.imagined} latents (samples x horizon), "
                f"got {request.samples} x {request.horizon}"
            )
        inputs = self._inputs(request)
        latents = yield from self._in_slices(
            lambda actions: self.model.rollout(inputs.latents, inputs.states, actions), inputs.actions
        )
        poses, pose = [], np.broadcast_to(inputs.states[-1], (request.samples, inputs.states.shape[1]))
        for step in range(request.horizon):
            pose = integrate(pose, inputs.actions[:, step])
            poses.append(pose)
        period = NANOSECONDS_PER_SECOND / self.model.card.control_rate_hz
        stamps = tuple(inputs.now.stamp + round(period * step) for step in range(1, request.horizon + 1))
        return Imagination(latents, np.stack(poses, axis=1), stamps, inputs.now.frame_id)

    # --- what came -------------------------------------------------------------------------------

    def _inputs(self, request: ActionRequest) -> _Inputs:
        card, frames = self.model.card, len(request.context_stamps)
        _check_count("context stamps", frames, self.limits.context)
        _check_count("samples", request.samples, self.limits.samples)
        _check_count("horizon", request.horizon, self.limits.horizon)
        if request.action_dim != card.action_dim:
            raise MalformedRequestError(f"action_dim: {card.name} expects {card.action_dim}, got {request.action_dim}")
        states = _shaped("states", request.states, (frames, card.state_dim))
        shape = (request.samples, request.horizon, card.action_dim)
        actions = _shaped("actions", request.actions, shape)
        return _Inputs(tuple(self.contexts.get(stamp) for stamp in request.context_stamps), states, actions)

    def _distance(self, name: str) -> Distance:
        try:
            return self.model.measured_by(name).card.distance
        except ValueError as error:
            raise MalformedRequestError(str(error)) from error

    # --- surprise --------------------------------------------------------------------------------

    def _surprise_at(self, now: StoredLatent) -> float:
        """Surprise of the latent that is now, worked out once for each."""
        if self._surprise[0] != now.stamp:
            self._surprise = (now.stamp, self._measure_surprise(now))
        return self._surprise[1]

    def _measure_surprise(self, now: StoredLatent) -> float:
        if self._best is None:
            return math.nan
        best = self._best
        periods = (now.stamp - best.now.stamp) / NANOSECONDS_PER_SECOND * self.model.card.control_rate_hz
        if abs(periods - 1.0) > PERIOD_TOLERANCE:
            return math.nan
        predicted = self.model.rollout(best.context, best.states, best.actions[:, :1])[0, 0]
        return self._distance_between(predicted.float().cpu().numpy(), now.latent, self.model.card.distance)

    def _distance_between(self, first: NDArray[np.float32], second: NDArray[np.float32], distance: Distance) -> float:
        return float(self.model.distance(first, second, distance))


ResultT = TypeVar("ResultT")


def _result(steps: Generator[None, None, ResultT]) -> ResultT:
    """What ``steps`` returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("ResultT", end.value)


def _check_count(name: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise MalformedRequestError(f"{name}: expected 1 to {most}, got {count}")


def _shaped(name: str, values: Floats, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The flat values in that shape, as float32, if there are as many and all are finite."""
    if values.size != math.prod(shape):
        raise MalformedRequestError(
            f"{name}: expected {' x '.join(map(str, shape))} = {math.prod(shape)} numbers, got {values.size}"
        )
    if not np.isfinite(values).all():
        count = int(np.count_nonzero(~np.isfinite(values)))
        raise MalformedRequestError(f"{name}: expected finite numbers, {count} of {values.size} are not")
    return np.asarray(values, dtype=np.float32).reshape(shape)

"""Episodes on the simulated table in process: a controller acts, the task judges, and what happened is written down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from jepa_sim.environment import TableEnvironment
from jepa_sim.tasks import Task, TaskEpisode, TaskError
from jepa_tools.sim_eval.controllers import Controller
from jepa_tools.sim_eval.episode_pictures import EpisodePictures, SeenEpisode, episode_pictures
from jepa_world_model.world_model import WorldModel

Picture = NDArray[np.uint8]

_SCENE_ATTEMPTS = 50
# Keeps the seeds of evaluations apart from those that data is collected with, which count up from zero.
_EVALUATION = 0x6A657061
_STRIP_LENGTH = 10
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class GoalTrace:
    """How one goal of an episode was pursued.

    Attributes:
        name: of the goal.
        steps: actions carried out on the way to it.
        tool_distance: of the tool to the expert's there, at the end, m.
        object_held: whether the object was between the fingers at the end.
    """

    name: str
    steps: int
    tool_distance: float
    object_held: bool


@dataclass(frozen=True)
class StripPicture:
    """A small picture of an episode. caption: what it shows. jpeg: the file."""

    caption: str
    jpeg: bytes


@dataclass(frozen=True)
class EpisodeResult:
    """What came of one episode.

    Attributes:
        seed: of the scene.
        success: as the task judges.
        initial_distance, final_distance: of what matters (tool or object) to the goal, m.
        steps: actions carried out.
        plan_seconds: time of each plan.
        energy: latent distance to the goal at the controller's last look; NaN for one that knows none.
        failure: why it failed, in words that are the same for the same kind of failure; empty for a success.
        goals: the goals in the order in which they were pursued; empty for controllers that know none.
        strip: pictures of the goals and of the way, if asked for.
        predicted: what a model would have predicted on the way, as pictures, if asked for.
    """

    seed: int
    success: bool
    initial_distance: float
    final_distance: float
    steps: int
    plan_seconds: tuple[float, ...] = ()
    energy: float = float("nan")
    failure: str = ""
    goals: tuple[GoalTrace, ...] = ()
    strip: tuple[StripPicture, ...] = ()
    predicted: EpisodePictures = field(default_factory=EpisodePictures)


def scene_seeds(seed: int, index: int) -> Iterator[int]:
    """Seeds of scenes for the episode `index` of an evaluation, the first of which the task can be set in counts."""
    yield from (
        int(value) for value in np.random.SeedSequence((_EVALUATION, seed, index)).generate_state(_SCENE_ATTEMPTS)
    )


def prepare_episode(task: Task, environment: TableEnvironment, seed: int, index: int) -> TaskEpisode:
    """The episode `index` of the evaluation `seed`, with the environment at its start.

    Raises:
        TaskError: the task can be set in none of many scenes.
    """
    for scene in scene_seeds(seed, index):
        try:
            return task.prepare(environment, scene)
        except TaskError:
            continue
    raise TaskError(f"{task.name}: could not be set in any of {_SCENE_ATTEMPTS} scenes")


def run_episode(
    task: Task,
    environment: TableEnvironment,
    episode: TaskEpisode,
    controller: Controller,
    picture_size: int = 0,
    model: WorldModel | None = None,
) -> EpisodeResult:
    """Lets `controller` act from the start of `episode`, which `environment` is at, within its budget of steps.

    What counts is what is true when the arm has come to rest after that.

    picture_size: side of the pictures of the result's strip, pixels; 0 takes none.
    model: whose predictions are shown beside what came, if pictures are taken.
    """
    record = _Record(task, environment, episode, picture_size)
    controller.begin(environment, episode)
    while record.steps < episode.steps and (action := controller.act(environment)) is not None:
        environment.step(action)
        if task.config.whole_steps:
            environment.finish()
        record.stepped(controller.goal_index())
    environment.settle()
    result = record.result(controller.plan_seconds(), controller.energy())
    return result if model is None or not picture_size else replace(result, predicted=record.predicted(model))


class _Record:
    """Takes down what happens in one episode."""

    def __init__(self, task: Task, environment: TableEnvironment, episode: TaskEpisode, picture_size: int) -> None:
        self._task, self._environment, self._episode = task, environment, episode
        self._picture_size = picture_size
        self._initial_distance = task.distance(environment, episode)
        self._was_held = task.holds_object(environment)
        self._goals: dict[int, GoalTrace] = {}
        self._pictures = [("start", self._picture())]
        self._states = [environment.state()]
        self.steps = 0

    def stepped(self, goal_index: int | None) -> None:
        """After each action; `goal_index` is that of the goal it pursued."""
        self.steps += 1
        held = self._task.holds_object(self._environment)
        self._was_held = self._was_held or held
        caption = f"step {self.steps}"
        if goal_index is not None:
            goal, known = self._episode.goals[goal_index], self._goals.get(goal_index)
            distance = float(np.linalg.norm(self._environment.state()[:3] - goal.state[:3]))
            self._goals[goal_index] = GoalTrace(goal.name, known.steps + 1 if known else 1, distance, held)
            caption += f": {goal.name}"
        self._pictures.append((caption, self._picture()))
        self._states.append(self._environment.state())

    def result(self, plan_seconds: tuple[float, ...], energy: float) -> EpisodeResult:
        """Judges the end; the environment may move on meanwhile."""
        final = self._task.distance(self._environment, self._episode)
        success = self._task.succeeded(self._environment, self._episode)
        failure = "" if success else self._task.why_failed(self._environment, self._episode, self._was_held)
        return EpisodeResult(
            seed=self._episode.seed,
            success=success,
            initial_distance=self._initial_distance,
            final_distance=final,
            steps=self.steps,
            plan_seconds=plan_seconds,
            energy=energy,
            failure=failure,
            goals=tuple(self._goals[index] for index in sorted(self._goals)),
            strip=self._strip() if self._picture_size else (),
        )

    def predicted(self, model: WorldModel) -> EpisodePictures:
        """What `model` would have predicted on the way."""
        pictures = [picture for _, picture in self._pictures if picture is not None]
        first = self._episode.goals[0]
        seen = SeenEpisode(
            f"Scene {self._episode.seed}", pictures, np.stack(self._states), first.image, np.asarray(first.state)
        )
        return episode_pictures(model, seen)

    def _picture(self) -> Picture | None:
        return self._environment.render() if self._picture_size else None

    def _strip(self) -> tuple[StripPicture, ...]:
        """The final goal, and pictures from the start to the end at equal distances."""
        last = len(self._pictures) - 1
        chosen = np.unique(np.linspace(0, last, min(_STRIP_LENGTH, last + 1)).round().astype(int))
        pictures = [("goal", self._episode.final.image), *(self._pictures[index] for index in chosen)]
        return tuple(
            StripPicture(caption, _jpeg(picture, self._picture_size))
            for caption, picture in pictures
            if picture is not None
        )


def _jpeg(picture: Picture, size: int) -> bytes:
    """An RGB picture [H, W, 3] as a JPEG file, `size` pixels wide and high."""
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes()

"""This package's simulator behind the protocol, in process."""

from __future__ import annotations

import threading

from jepa_sim.backends.protocol import Feature, SimulatorError
from jepa_sim.controlled_simulation import ControlledSimulation
from jepa_sim.entities import EntityError, EntityState, body_from_xml
from jepa_sim.task_names import REACH

MAX_STEPS = 20_000
"""Steps of one request: those who wait for the answer wait about as long as it takes to simulate them."""


class OwnSimulator:
    """A `SimulatorBackend` around a simulation that somebody else advances.

    Whoever advances it asks `paused` before. Threads: any.
    """

    def __init__(self, simulation: ControlledSimulation, seed: int = 0, task: str = REACH) -> None:
        """`seed` and `task` name the scene that `reset` returns to."""
        self._simulation = simulation
        self._seed, self._task = seed, task
        self._paused = threading.Event()

    @property
    def paused(self) -> bool:
        """Whether time stands still."""
        return self._paused.is_set()

    @property
    def time_ns(self) -> int:
        """The simulation's clock."""
        return self._simulation.time_ns

    @property
    def features(self) -> frozenset[Feature]:
        """All of them."""
        return frozenset(Feature)

    def entities(self) -> tuple[str, ...]:
        """The scene's objects and what was spawned."""
        return self._simulation.entity_names()

    def spawn(self, name: str, description: str, state: EntityState) -> None:
        """Adds a box, a cylinder or a sphere; see `jepa_sim.entities.body_from_xml`."""
        try:
            self._simulation.spawn(name, body_from_xml(description), state)
        except EntityError as error:
            raise SimulatorError(f"not spawned: {error}") from error

    def delete(self, name: str) -> None:
        """Removes what was spawned; cup and box belong to the scene."""
        try:
            self._simulation.delete(name)
        except EntityError as error:
            raise SimulatorError(f"not deleted: {error}") from error

    def state(self, name: str) -> EntityState:
        """Where an entity is and how it moves."""
        try:
            return self._simulation.entity_state(name)
        except EntityError as error:
            raise SimulatorError(str(error)) from error

    def set_state(self, name: str, state: EntityState) -> None:
        """Puts an entity somewhere."""
        try:
            self._simulation.set_entity_state(name, state)
        except EntityError as error:
            raise SimulatorError(f"not moved: {error}") from error

    def reset(self) -> None:
        """Back to the scene of the seed; the clock goes on."""
        self._simulation.reset(self._seed, self._task)

    def choose_scene(self, seed: int, task: str) -> None:
        """Names the scene that `reset` returns to from now on."""
        self._seed, self._task = seed, task

    def pause(self) -> None:
        """Stops time."""
        self._paused.set()

    def resume(self) -> None:
        """Lets time go on."""
        self._paused.clear()

    def step(self, steps: int = 1) -> None:
        """Simulates that many physics steps in the caller's thread."""
        if not self.paused:
            raise SimulatorError("expected a paused simulation, it runs: pause it before you step it")
        if not 0 < steps <= MAX_STEPS:
            raise SimulatorError(f"expected 1 to {MAX_STEPS} steps, got {steps}")
        self._simulation.advance(steps)

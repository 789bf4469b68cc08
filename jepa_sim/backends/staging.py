"""The scene that a seed names, put into any simulator: so that demo and evaluation can run elsewhere too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jepa_sim.backends.protocol import SimulatorBackend
from jepa_sim.controlled_simulation import ControlledSimulation
from jepa_sim.entities import EntityState
from jepa_sim.scene import OBJECTS


@dataclass(frozen=True)
class StagedScene:
    """What a seed and a task name.

    Attributes:
        arm_positions: of the joints [7], rad.
        finger_positions: [2], m.
        objects: by name, in the robot's base frame, which must be the simulator's world frame.
    """

    arm_positions: tuple[float, ...]
    finger_positions: tuple[float, ...]
    objects: Mapping[str, EntityState]

    def place_objects(self, backend: SimulatorBackend) -> None:
        """Puts the objects there; raises `SimulatorError` when the simulator refuses, such as for one it lacks."""
        for name, state in self.objects.items():
            backend.set_state(name, state)


class SceneSource:
    """Draws scenes with a simulation of its own. Not thread-safe."""

    def __init__(self) -> None:
        self._simulation = ControlledSimulation()

    def draw(self, seed: int, task: str, arm_positions: Sequence[float] = ()) -> StagedScene:
        """The scene of `seed` and `task`, with the arm at `arm_positions` [7] if given.

        Raises:
            ValueError: an unknown task, a negative seed or joint positions outside the arm's limits.
        """
        self._simulation.reset(seed, task, arm_positions)
        positions = tuple(map(float, self._simulation.advance(0).positions))
        arm_joints = len(positions) - 2
        objects = {name: self._simulation.entity_state(name) for name in OBJECTS}
        return StagedScene(positions[:arm_joints], positions[arm_joints:], objects)

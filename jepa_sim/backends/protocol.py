"""What can be done with a simulator, whichever it is."""

from __future__ import annotations

import enum
from typing import Any, Protocol

from jepa_sim.entities import EntityState


class Feature(enum.Enum):
    """One thing that a simulator may or may not be able to do."""

    SPAWN = "spawn"
    DELETE = "delete"
    GET_STATE = "get_state"
    SET_STATE = "set_state"
    RESET = "reset"
    PAUSE = "pause"
    STEP = "step"


class SimulatorError(RuntimeError):
    """The simulator did not do what it was asked; the message is its reason."""


class UnsupportedFeatureError(SimulatorError):
    """This simulator cannot do it at all."""


class ServiceCaller(Protocol):
    """Calls a ROS service; `jepa_tools.operation.ros_client.RosClient.call` is one."""

    def __call__(self, service_type: Any, name: str, request: Any) -> Any:
        """The response; raises TimeoutError when there is no such service or no answer in time."""


class SimulatorBackend(Protocol):
    """A simulator with named entities, such as cup and box. Poses are in the world frame.

    Every method raises SimulatorError when the simulator refuses, UnsupportedFeatureError when it cannot do it, and
    TimeoutError when it is elsewhere and does not answer.
    """

    @property
    def features(self) -> frozenset[Feature]:
        """What it can do."""

    def entities(self) -> tuple[str, ...]:
        """Names of what is in the scene."""

    def spawn(self, name: str, description: str, state: EntityState) -> None:
        """Adds an entity that SDF or URDF text describes."""

    def delete(self, name: str) -> None:
        """Removes an entity."""

    def state(self, name: str) -> EntityState:
        """Where an entity is and how it moves."""

    def set_state(self, name: str, state: EntityState) -> None:
        """Puts an entity somewhere, with the velocity that `state` says."""

    def reset(self) -> None:
        """Puts everything back to where it was at the start and removes what was spawned. The clock goes on."""

    def pause(self) -> None:
        """Stops time; harmless when it stands still already."""

    def resume(self) -> None:
        """Lets time go on; harmless when it does already."""

    def step(self, steps: int = 1) -> None:
        """Simulates `steps` physics steps of a paused simulation and returns when they are done."""

"""The services of `gazebo_msgs`: Gazebo Classic from outside, and any simulator as if it were Gazebo Classic.

Needs `gazebo_msgs`. Gazebo Classic has no service that steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gazebo_msgs.msg import EntityState as EntityStateMessage
from gazebo_msgs.srv import DeleteEntity, GetEntityState, GetModelList, SetEntityState, SpawnEntity
from rclpy.node import Node
from std_srvs.srv import Empty

from jepa_sim.backends.available import BackendKind
from jepa_sim.backends.protocol import (
    Feature,
    ServiceCaller,
    SimulatorBackend,
    SimulatorError,
    UnsupportedFeatureError,
)
from jepa_sim.backends.state_messages import pose_message, state_from_messages, twist_message
from jepa_sim.entities import EntityState

WORLD_FRAMES = ("", "world")


class GazeboClassicClient:
    """A `SimulatorBackend` behind the services of `gazebo_msgs`. Threads: as those of `call`.

    What this client spawned it deletes at a reset, because Gazebo Classic would keep it.
    """

    def __init__(self, call: ServiceCaller, prefix: str = "") -> None:
        """`prefix` stands before the services' names, such as `gazebo/`; Gazebo Classic itself has none."""
        self._call, self._prefix = call, prefix
        self._spawned: list[str] = []

    @property
    def features(self) -> frozenset[Feature]:
        """All but steps."""
        return frozenset(Feature) - {Feature.STEP}

    def entities(self) -> tuple[str, ...]:
        """Names of the models in the world."""
        response = self._ask(GetModelList, "get_model_list", GetModelList.Request())
        return tuple(response.model_names)

    def spawn(self, name: str, description: str, state: EntityState) -> None:
        """Adds a model."""
        request = SpawnEntity.Request(name=name, xml=description, initial_pose=pose_message(state))
        _check(self._ask(SpawnEntity, "spawn_entity", request))
        self._spawned.append(name)

    def delete(self, name: str) -> None:
        """Removes a model."""
        _check(self._ask(DeleteEntity, "delete_entity", DeleteEntity.Request(name=name)))
        self._spawned = [other for other in self._spawned if other != name]

    def state(self, name: str) -> EntityState:
        """Where a model is and how it moves."""
        response = self._ask(GetEntityState, "get_entity_state", GetEntityState.Request(name=name))
        if not response.success:
            raise SimulatorError(f"Gazebo knows no entity {name!r}")
        return state_from_messages(response.state.pose, response.state.twist)

    def set_state(self, name: str, state: EntityState) -> None:
        """Puts a model somewhere."""
        message = EntityStateMessage(name=name, pose=pose_message(state), twist=twist_message(state))
        if not self._ask(SetEntityState, "set_entity_state", SetEntityState.Request(state=message)).success:
            raise SimulatorError(f"Gazebo did not move the entity {name!r}: does it exist?")

    def reset(self) -> None:
        """Back to the world's initial poses; `reset_simulation` would turn back the clock that nodes follow."""
        for name in tuple(self._spawned):
            self.delete(name)
        self._ask(Empty, "reset_world", Empty.Request())

    def pause(self) -> None:
        """Stops time."""
        self._ask(Empty, "pause_physics", Empty.Request())

    def resume(self) -> None:
        """Lets time go on."""
        self._ask(Empty, "unpause_physics", Empty.Request())

    def step(self, steps: int = 1) -> None:
        """Raises UnsupportedFeatureError."""
        raise UnsupportedFeatureError(f"Gazebo Classic has no service that takes {steps} step(s)")

    def _ask(self, service_type: Any, name: str, request: Any) -> Any:
        return self._call(service_type, self._prefix + name, request)


def _check(response: Any) -> None:
    if not response.success:
        raise SimulatorError(response.status_message or "Gazebo did not say why it refused")


class GazeboClassicServer:
    """Lets a simulator be driven with the services of `gazebo_msgs`. Threads: the node's executor's."""

    def __init__(self, node: Node, backend: SimulatorBackend, prefix: str = "gazebo/") -> None:
        """`prefix` stands before the services' names."""
        self._backend, self._log = backend, node.get_logger()
        for service_type, name, callback in (
            (SpawnEntity, "spawn_entity", self._spawn),
            (DeleteEntity, "delete_entity", self._delete),
            (GetEntityState, "get_entity_state", self._get_state),
            (SetEntityState, "set_entity_state", self._set_state),
            (GetModelList, "get_model_list", self._list),
            (Empty, "reset_world", self._empty(backend.reset)),
            (Empty, "reset_simulation", self._empty(backend.reset)),
            (Empty, "pause_physics", self._empty(backend.pause)),
            (Empty, "unpause_physics", self._empty(backend.resume)),
        ):
            node.create_service(service_type, prefix + name, callback)

    def _spawn(self, request: SpawnEntity.Request, response: SpawnEntity.Response) -> SpawnEntity.Response:
        state = state_from_messages(request.initial_pose)

        def spawn() -> None:
            _check_frame(request.reference_frame)
            self._backend.spawn(request.name, request.xml, state)

        response.success, response.status_message = self._try(spawn)
        return response

    def _delete(self, request: DeleteEntity.Request, response: DeleteEntity.Response) -> DeleteEntity.Response:
        response.success, response.status_message = self._try(lambda: self._backend.delete(request.name))
        return response

    def _get_state(self, request: GetEntityState.Request, response: GetEntityState.Response) -> GetEntityState.Response:
        def get() -> None:
            _check_frame(request.reference_frame)
            state = self._backend.state(request.name)
            response.state = EntityStateMessage(
                name=request.name, pose=pose_message(state), twist=twist_message(state), reference_frame="world"
            )

        response.success, _ = self._try(get)
        response.header.frame_id = "world"
        return response

    def _set_state(self, request: SetEntityState.Request, response: SetEntityState.Response) -> SetEntityState.Response:
        message = request.state

        def move() -> None:
            _check_frame(message.reference_frame)
            self._backend.set_state(message.name, state_from_messages(message.pose, message.twist))

        response.success, _ = self._try(move)
        return response

    def _list(self, _: GetModelList.Request, response: GetModelList.Response) -> GetModelList.Response:
        response.model_names = list(self._backend.entities())
        response.success = True
        return response

    def _empty(self, action: Callable[[], None]) -> Callable[[Empty.Request, Empty.Response], Empty.Response]:
        def answer(_: Empty.Request, response: Empty.Response) -> Empty.Response:
            self._try(action)
            return response

        return answer

    def _try(self, action: Callable[[], None]) -> tuple[bool, str]:
        """Whether it worked, and if not, why; several of these services have no field for the reason."""
        try:
            action()
        except SimulatorError as error:
            self._log.warning(str(error))
            return False, str(error)
        return True, "done"


def _check_frame(frame: str) -> None:
    if frame not in WORLD_FRAMES:
        raise SimulatorError(f"expected the reference frame world or none, got {frame!r}")


BACKEND = BackendKind(GazeboClassicClient, GazeboClassicServer)

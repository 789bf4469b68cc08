"""The services of `simulation_interfaces`: gz sim, Isaac Sim and others from outside, and any simulator as one of them.

Needs `simulation_interfaces`; those of Jazzy and Kilted (1.x) and of later distributions (2.x).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from simulation_interfaces.msg import EntityState as EntityStateMessage
from simulation_interfaces.msg import Result, SimulationState, SimulatorFeatures
from simulation_interfaces.srv import (
    DeleteEntity,
    GetEntities,
    GetEntityState,
    GetSimulatorFeatures,
    ResetSimulation,
    SetEntityState,
    SetSimulationState,
    SpawnEntity,
    StepSimulation,
)

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

PREFIX = "gzserver/"
"""What gz sim's services are named with."""

FEATURES = {
    Feature.SPAWN: (SimulatorFeatures.SPAWNING, SimulatorFeatures.SPAWNING_RESOURCE_STRING),
    Feature.DELETE: (SimulatorFeatures.DELETING,),
    Feature.GET_STATE: (SimulatorFeatures.ENTITY_STATE_GETTING,),
    Feature.SET_STATE: (SimulatorFeatures.ENTITY_STATE_SETTING,),
    Feature.RESET: (SimulatorFeatures.SIMULATION_RESET,),
    Feature.PAUSE: (SimulatorFeatures.SIMULATION_STATE_SETTING, SimulatorFeatures.SIMULATION_STATE_PAUSE),
    Feature.STEP: (SimulatorFeatures.STEP_SIMULATION_SINGLE, SimulatorFeatures.STEP_SIMULATION_MULTIPLE),
}
"""The numbers by which a simulator announces each feature."""


class SimulationInterfacesClient:
    """A `SimulatorBackend` behind the services of `simulation_interfaces`. Threads: as those of `call`."""

    def __init__(self, call: ServiceCaller, prefix: str = PREFIX) -> None:
        """`prefix` stands before the services' names."""
        self._call, self._prefix = call, prefix

    @property
    def features(self) -> frozenset[Feature]:
        """What the simulator announces."""
        request = GetSimulatorFeatures.Request()
        announced = set(self._ask(GetSimulatorFeatures, "get_simulator_features", request).features.features)
        return frozenset(feature for feature, numbers in FEATURES.items() if announced.issuperset(numbers))

    def entities(self) -> tuple[str, ...]:
        """Names of what is in the scene."""
        return tuple(self._ask(GetEntities, "get_entities", GetEntities.Request()).entities)

    def spawn(self, name: str, description: str, state: EntityState) -> None:
        """Adds an entity under this name and no other."""
        request = SpawnEntity.Request(name=name, initial_pose=PoseStamped(pose=pose_message(state)))
        _resource(request).resource_string = description
        self._ask(SpawnEntity, "spawn_entity", request)

    def delete(self, name: str) -> None:
        """Removes an entity."""
        self._ask(DeleteEntity, "delete_entity", DeleteEntity.Request(entity=name))

    def state(self, name: str) -> EntityState:
        """Where an entity is and how it moves."""
        response = self._ask(GetEntityState, "get_entity_state", GetEntityState.Request(entity=name))
        return state_from_messages(response.state.pose, response.state.twist)

    def set_state(self, name: str, state: EntityState) -> None:
        """Puts an entity somewhere."""
        message = EntityStateMessage(pose=pose_message(state), twist=twist_message(state))
        request = SetEntityState.Request(entity=name, state=message)
        if hasattr(request, "set_pose"):  # from 2.0 on
            request.set_pose = request.set_twist = True
        self._ask(SetEntityState, "set_entity_state", request)

    def reset(self) -> None:
        """Initial states, without what was spawned; the clock, which nodes follow, goes on."""
        scope = ResetSimulation.Request.SCOPE_STATE | ResetSimulation.Request.SCOPE_SPAWNED
        self._ask(ResetSimulation, "reset_simulation", ResetSimulation.Request(scope=scope))

    def pause(self) -> None:
        """Stops time."""
        self._set_state(SimulationState.STATE_PAUSED)

    def resume(self) -> None:
        """Lets time go on."""
        self._set_state(SimulationState.STATE_PLAYING)

    def step(self, steps: int = 1) -> None:
        """Simulates that many steps of a paused simulation."""
        self._ask(StepSimulation, "step_simulation", StepSimulation.Request(steps=steps))

    def _set_state(self, state: int) -> None:
        request = SetSimulationState.Request(state=SimulationState(state=state))
        already = SetSimulationState.Response.ALREADY_IN_TARGET_STATE
        self._ask(SetSimulationState, "set_simulation_state", request, accepted=(already,))

    def _ask(self, service_type: Any, name: str, request: Any, accepted: tuple[int, ...] = ()) -> Any:
        """The response; raises what its result says, unless it is one of `accepted`."""
        response = self._call(service_type, self._prefix + name, request)
        result = getattr(response, "result", None)
        if result is None or result.result in (Result.RESULT_OK, *accepted):
            return response
        reason = result.error_message or f"the simulator refused {name} with the code {result.result}"
        unsupported = result.result == Result.RESULT_FEATURE_UNSUPPORTED
        raise (UnsupportedFeatureError if unsupported else SimulatorError)(reason)


def _resource(request: SpawnEntity.Request) -> Any:
    """What holds `resource_string`: from 2.0 on a message of its own."""
    return getattr(request, "entity_resource", request)


class SimulationInterfacesServer:
    """Lets a simulator be driven with the services of `simulation_interfaces`. Threads: the node's executor's."""

    def __init__(self, node: Node, backend: SimulatorBackend, prefix: str = PREFIX) -> None:
        """`prefix` stands before the services' names."""
        self._backend, self._log = backend, node.get_logger()
        for service_type, name, callback in (
            (SpawnEntity, "spawn_entity", self._spawn),
            (DeleteEntity, "delete_entity", self._delete),
            (GetEntityState, "get_entity_state", self._get_state),
            (SetEntityState, "set_entity_state", self._set_state),
            (GetEntities, "get_entities", self._list),
            (ResetSimulation, "reset_simulation", self._reset),
            (SetSimulationState, "set_simulation_state", self._set_simulation_state),
            (StepSimulation, "step_simulation", self._step),
            (GetSimulatorFeatures, "get_simulator_features", self._features),
        ):
            node.create_service(service_type, prefix + name, callback)

    def _spawn(self, request: SpawnEntity.Request, response: SpawnEntity.Response) -> SpawnEntity.Response:
        resource = _resource(request)

        def spawn() -> None:
            if not request.name or not resource.resource_string:
                raise SimulatorError("expected a name and a resource_string (SDF or URDF): files are not fetched")
            state = state_from_messages(request.initial_pose.pose)
            self._backend.spawn(request.name, resource.resource_string, state)
            response.entity_name = request.name

        response.result = self._try(spawn)
        return response

    def _delete(self, request: DeleteEntity.Request, response: DeleteEntity.Response) -> DeleteEntity.Response:
        response.result = self._try(lambda: self._backend.delete(request.entity))
        return response

    def _get_state(self, request: GetEntityState.Request, response: GetEntityState.Response) -> GetEntityState.Response:
        def get() -> None:
            state = self._backend.state(request.entity)
            response.state = EntityStateMessage(pose=pose_message(state), twist=twist_message(state))
            response.state.header.frame_id = "world"

        response.result = self._try(get)
        return response

    def _set_state(self, request: SetEntityState.Request, response: SetEntityState.Response) -> SetEntityState.Response:
        def move() -> None:
            wanted = state_from_messages(request.state.pose, request.state.twist)
            self._backend.set_state(request.entity, wanted)

        response.result = self._try(move)
        return response

    def _list(self, request: GetEntities.Request, response: GetEntities.Response) -> GetEntities.Response:
        response.result = self._try(lambda: _check_no_filter(request.filters.filter))
        if response.result.result == Result.RESULT_OK:
            response.entities = list(self._backend.entities())
        return response

    def _reset(self, request: ResetSimulation.Request, response: ResetSimulation.Response) -> ResetSimulation.Response:
        def reset() -> None:
            if request.scope == ResetSimulation.Request.SCOPE_TIME:
                raise UnsupportedFeatureError("the clock is not turned back: nodes follow it")
            self._backend.reset()

        response.result = self._try(reset)
        return response

    def _set_simulation_state(
        self, request: SetSimulationState.Request, response: SetSimulationState.Response
    ) -> SetSimulationState.Response:
        actions = {
            SimulationState.STATE_PLAYING: self._backend.resume,
            SimulationState.STATE_PAUSED: self._backend.pause,
        }
        response.result = self._try(actions.get(request.state.state, _refuse_state))
        return response

    def _step(self, request: StepSimulation.Request, response: StepSimulation.Response) -> StepSimulation.Response:
        response.result = self._try(lambda: self._backend.step(request.steps))
        return response

    def _features(
        self, _: GetSimulatorFeatures.Request, response: GetSimulatorFeatures.Response
    ) -> GetSimulatorFeatures.Response:
        numbers = {number for feature in self._backend.features for number in FEATURES[feature]}
        response.features.features = sorted(numbers)
        response.features.spawn_formats = ["sdf", "urdf"]
        return response

    def _try(self, action: Callable[[], None]) -> Result:
        try:
            action()
        except UnsupportedFeatureError as error:
            return self._refusal(Result.RESULT_FEATURE_UNSUPPORTED, error)
        except SimulatorError as error:
            return self._refusal(Result.RESULT_OPERATION_FAILED, error)
        return Result(result=Result.RESULT_OK)

    def _refusal(self, code: int, error: SimulatorError) -> Result:
        self._log.warning(str(error))
        return Result(result=code, error_message=str(error))


def _check_no_filter(text: str) -> None:
    if text:
        raise UnsupportedFeatureError(f"expected no filter of entity names, got {text!r}")


def _refuse_state() -> None:
    raise UnsupportedFeatureError("expected the state playing or paused: this simulator ends with its process")


BACKEND = BackendKind(SimulationInterfacesClient, SimulationInterfacesServer)

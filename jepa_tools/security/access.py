"""What each node may publish, hear, offer and ask for: nothing else, and only what it needs.

Names are those of the code: relative ones lie in the nodes' namespace, those that begin with ~/ below the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Access:
    """Names of topics, services and actions.

    Attributes:
        publish, subscribe: topics.
        reply, request: services that the node offers, and that it calls.
        execute, call: actions that the node offers, and that it calls.
    """

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    reply: tuple[str, ...] = ()
    request: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    call: tuple[str, ...] = ()

    def __or__(self, other: Access) -> Access:
        """What either may."""
        return Access(**{item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)})

    def named(self, node: str, namespace: str, remappings: Mapping[str, str]) -> Access:
        """The same with full names, each once and in order, as ``node`` in ``namespace`` has them after remapping."""

        def full(name: str) -> str:
            name = remappings.get(name, name)
            if name.startswith("~/"):
                name = f"{node}/{name[2:]}"
            return name if name.startswith("/") else "/" + "/".join(filter(None, (namespace.strip("/"), name)))

        names = {item.name: tuple(sorted({full(name) for name in getattr(self, item.name)})) for item in fields(self)}
        return replace(self, **names)


_PARAMETER_SERVICES = (
    "~/describe_parameters", "~/get_parameter_types", "~/get_parameters", "~/list_parameters", "~/set_parameters",
    "~/set_parameters_atomically", "~/get_type_description",
)  # fmt: skip
_LIFECYCLE_SERVICES = (
    "~/change_state", "~/get_state", "~/get_available_states", "~/get_available_transitions", "~/get_transition_graph",
)  # fmt: skip
_ANY_NODE = Access(
    publish=("/rosout", "/parameter_events"), subscribe=("/clock", "/parameter_events"), reply=_PARAMETER_SERVICES
)
_OUR_NODE = _ANY_NODE | Access(publish=("/diagnostics", "heartbeat"))
_LIFECYCLE_NODE = _OUR_NODE | Access(
    publish=("~/transition_event",), subscribe=("heartbeat",), reply=_LIFECYCLE_SERVICES
)

_CAMERA = Access(publish=("image", "image/compressed", "camera_info"))
_ROBOT = Access(
    publish=("joint_states", "desired_joint_states", "controller_state", "robot_description"),
    subscribe=("joint_trajectory", "gripper_trajectory"),
)
_SCENE = ("spawn_entity", "delete_entity", "get_entity_state", "set_entity_state", "reset_simulation")
# Those of Gazebo that the simulated table speaks where their packages are installed.
_SCENE_SERVICES = (
    *(f"gazebo/{name}" for name in (*_SCENE, "get_model_list", "reset_world", "pause_physics", "unpause_physics")),
    *(f"gzserver/{name}" for name in (*_SCENE, "get_entities", "set_simulation_state", "step_simulation",
                                      "get_simulator_features")),
)  # fmt: skip
_PLANNER_ACTIONS = ("~/calibrate", "~/pause", "~/resume", "~/step", "~/stop")

NODES: dict[str, Access] = {
    "sim": _OUR_NODE
    | _CAMERA
    | _ROBOT
    | Access(publish=("/clock", "objects"), reply=("reset_simulation", *_SCENE_SERVICES)),
    "encoder": _LIFECYCLE_NODE
    | Access(
        publish=("latent", "goal_latent"),
        subscribe=("image", "image/compressed", "goal_image", "goal_image/compressed"),
    ),
    "predictor": _LIFECYCLE_NODE
    | Access(
        # The picture is of models with a decoder.
        publish=("imagined/compressed",),
        subscribe=("latent", "goal_latent"),
        reply=("score_actions", "predict_latents"),
    ),
    "planner": _LIFECYCLE_NODE
    | Access(
        # The planner shows the goals of its clients to the encoder and the predictor.
        publish=("joint_trajectory", "gripper_trajectory", "planner_status", "planner_markers", "goal_image",
                 "goal_latent"),
        subscribe=("joint_states", "desired_joint_states", "controller_state", "robot_description", "latent",
                   "goal_latent"),
        reply=_PLANNER_ACTIONS,
        request=("score_actions",),
        execute=("reach_goal",),
    ),
}  # fmt: skip
"""Of this package's nodes, by their names."""

ROBOT, CAMERA, OPERATOR, RECORDER = "robot", "camera", "operator", "recorder"

OTHERS: dict[str, Access] = {
    ROBOT: _ANY_NODE | _ROBOT,
    CAMERA: _ANY_NODE | _CAMERA,
    OPERATOR: _ANY_NODE
    | Access(
        publish=("goal_image", "goal_image/compressed"),
        subscribe=(
            "image",
            "image/compressed",
            "goal_image",
            "goal_image/compressed",
            "imagined/compressed",
            "joint_states",
            "planner_status",
            "planner_markers",
            "robot_description",
            "/diagnostics",
        ),
        request=(
            "reset_simulation",
            *(f"{node}/{service[2:]}" for node in NODES for service in _PARAMETER_SERVICES),
            *(f"{node}/{service[2:]}" for node in NODES if node != "sim" for service in _LIFECYCLE_SERVICES),
            *(f"planner/{service[2:]}" for service in _PLANNER_ACTIONS),
        ),
        call=("reach_goal",),
    ),
    RECORDER: _ANY_NODE
    | Access(
        subscribe=("/*",),
        request=tuple(f"{node}/{service}" for node in NODES for service in ("list_parameters", "get_parameters")),
    ),
}
"""Of those around them: the robot's driver and controllers, the camera's driver, who shows goals, and who records."""

"""Domain randomisation: scenes that differ in what a model should not rely on. All of it is off by default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from jepa_sim.camera_view import turned
from jepa_sim.environment import EnvironmentConfig
from jepa_sim.reset import Workspace
from jepa_sim.robot_description import Vector
from jepa_sim.scene import CameraConfig, Color, LightConfig, Pattern, SceneConfig, Shape, TextureConfig

_COLORS = (
    "arm_color", "joint_color", "hand_color", "left_finger_color", "right_finger_color", "table_color", "floor_color",
    "cup_color", "cup_inside_color", "box_color",
)  # fmt: skip
_TEXTURES = ("table_texture", "floor_texture", "cup_texture", "box_texture")
# The fingers open 8 cm; what they shall grasp must fit between them with room on both sides.
_LARGEST_GRASPED_M = 0.07
_NOTHING_BY_THEMSELVES = ("episodes_per_scene", "camera_turn_share")


@dataclass(frozen=True)
class RandomizationConfig:
    """How far scenes differ from the configured one. Everything is drawn anew every `episodes_per_scene` seeds.

    Attributes:
        camera_position_m, camera_target_m: half the side of the box in which the camera and the point that it looks
            at are drawn, m.
        camera_fov_deg: largest change of the vertical field of view, degrees.
        camera_turn_deg: largest turn of the camera about the vertical line through the scene's middle, degrees.
            Recorded states are told in axes that turn along, so that a model learns directions as the camera sees
            them, and `jepa calibrate` can find how a camera stands.
        camera_turn_share: how often the camera is turned.
        light_direction: standard deviation of the lamp's direction per axis, beside a vertical of 1.
        light_brightness: largest relative change of the lamp and of the ambient light, each on its own.
        color: largest change of each colour channel of each surface.
        texture_share: how often a surface (table, floor, cup, box) gets a pattern in place of its colour.
        object_size: largest relative change of the objects' sizes; what the gripper cannot span is cut.
        object_shape_share: how often an object is another solid (box, cylinder, ellipsoid).
        table_height_m: largest change of the table's height, m; the workspace's floor moves along.
        camera_latency_s: pictures are up to this old, s.
        episodes_per_scene: a scene is built for this many seeds in a row; building one takes a while.
    """

    camera_position_m: float = 0.0
    camera_target_m: float = 0.0
    camera_fov_deg: float = 0.0
    camera_turn_deg: float = 0.0
    camera_turn_share: float = 1.0
    light_direction: float = 0.0
    light_brightness: float = 0.0
    color: float = 0.0
    texture_share: float = 0.0
    object_size: float = 0.0
    object_shape_share: float = 0.0
    table_height_m: float = 0.0
    camera_latency_s: float = 0.0
    episodes_per_scene: int = 10

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0 or (name == "episodes_per_scene" and value < 1):
                raise ValueError(f"{name}: expected a number from {int(name == 'episodes_per_scene')} up, got {value}")
        for name in (
            "light_brightness", "color", "texture_share", "object_size", "object_shape_share", "camera_turn_share",
        ):  # fmt: skip
            if getattr(self, name) > 1.0:
                raise ValueError(f"{name}: expected at most 1, got {getattr(self, name)}")

    @property
    def enabled(self) -> bool:
        """Whether anything is drawn at all."""
        return any(value > 0 for name, value in vars(self).items() if name not in _NOTHING_BY_THEMSELVES)

    def scene_of(self, seed: int) -> int:
        """Number of the scene in which the episode `seed` plays."""
        return seed // self.episodes_per_scene


def randomized_environment(base: EnvironmentConfig, config: RandomizationConfig, scene: int) -> EnvironmentConfig:
    """The environment of scene number `scene`; the same number gives the same one."""
    if not config.enabled:
        return base
    # Every aspect draws from a generator of its own: switching one on leaves the others' draws as they were.
    camera, light, surfaces, objects, table, latency, turn = (
        np.random.default_rng((scene, 2, aspect)) for aspect in range(7)
    )
    degrees = _turn(config, turn)
    drawn = replace(
        base.scene,
        camera=turned(_camera(base.scene.camera, config, camera), degrees),
        light=_light(base.scene.light, config, light),
        table_height=base.scene.table_height + config.table_height_m * table.uniform(-1.0, 1.0),
    )
    drawn = _objects(_surfaces(drawn, config, surfaces), config, objects)
    workspace = _shifted(base.reset.workspace, drawn.table_height - base.scene.table_height)
    return replace(
        base,
        scene=drawn,
        reset=replace(base.reset, workspace=workspace),
        camera_latency_s=base.camera_latency_s + config.camera_latency_s * latency.uniform(0.0, 1.0),
        view_turn_deg=base.view_turn_deg + degrees,
    )


def _camera(camera: CameraConfig, config: RandomizationConfig, generator: np.random.Generator) -> CameraConfig:
    return CameraConfig(
        position=_moved(camera.position, config.camera_position_m, generator),
        target=_moved(camera.target, config.camera_target_m, generator),
        vertical_fov=camera.vertical_fov + config.camera_fov_deg * generator.uniform(-1.0, 1.0),
    )


def _turn(config: RandomizationConfig, generator: np.random.Generator) -> float:
    chosen, share = generator.random(), generator.uniform(-1.0, 1.0)
    return config.camera_turn_deg * float(share) if chosen < config.camera_turn_share else 0.0


def _light(light: LightConfig, config: RandomizationConfig, generator: np.random.Generator) -> LightConfig:
    lamp, ambient = 1.0 + config.light_brightness * generator.uniform(-1.0, 1.0, 2)
    x, y, z = light.direction
    sideways = config.light_direction * generator.normal(size=2)
    return LightConfig(
        direction=(x + float(sideways[0]), y + float(sideways[1]), z),
        lamp=_vector(np.clip(np.multiply(light.lamp, lamp), 0.0, 1.0)),
        ambient=_vector(np.clip(np.multiply(light.ambient, ambient), 0.0, 1.0)),
    )


def _surfaces(scene: SceneConfig, config: RandomizationConfig, generator: np.random.Generator) -> SceneConfig:
    changes: dict[str, Any] = {
        **{name: _recolored(getattr(scene, name), config.color, generator) for name in _COLORS},
        **{name: _texture(getattr(scene, name), config.texture_share, generator) for name in _TEXTURES},
    }
    return replace(scene, **changes)


def _objects(scene: SceneConfig, config: RandomizationConfig, generator: np.random.Generator) -> SceneConfig:
    radius, height, size = 1.0 + config.object_size * generator.uniform(-1.0, 1.0, 3)
    return replace(
        scene,
        cup_radius=min(scene.cup_radius * float(radius), _LARGEST_GRASPED_M / 2),
        cup_height=scene.cup_height * float(height),
        box_size=min(scene.box_size * float(size), _LARGEST_GRASPED_M),
        cup_shape=_shape(scene.cup_shape, config.object_shape_share, generator),
        box_shape=_shape(scene.box_shape, config.object_shape_share, generator),
    )


def _shape(shape: Shape, share: float, generator: np.random.Generator) -> Shape:
    chosen, other = generator.random(), generator.choice(get_args(Shape))
    return str(other) if chosen < share else shape  # type: ignore[return-value]


def _texture(texture: TextureConfig, share: float, generator: np.random.Generator) -> TextureConfig:
    patterns = [pattern for pattern in get_args(Pattern) if pattern != "plain"]
    chosen, pattern = generator.random(), generator.choice(patterns)
    first, second = generator.uniform(0.1, 0.95, (2, 3))
    repeat = int(generator.integers(1, 12))
    if chosen >= share:
        return texture
    return TextureConfig(str(pattern), _vector(first), _vector(second), repeat)  # type: ignore[arg-type]


def _recolored(color: Color, most: float, generator: np.random.Generator) -> Color:
    red, green, blue = np.clip(np.add(color[:3], most * generator.uniform(-1.0, 1.0, 3)), 0.0, 1.0)
    return float(red), float(green), float(blue), color[3]


def _moved(point: Vector, most: float, generator: np.random.Generator) -> Vector:
    return _vector(np.add(point, most * generator.uniform(-1.0, 1.0, 3)))


def _shifted(workspace: Workspace, up: float) -> Workspace:
    """The workspace with its floor moved; its ceiling stays within the arm's reach."""
    x, y, z = workspace.lower
    return replace(workspace, lower=(x, y, z + up))


def _vector(values: np.ndarray) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z

"""What a user of a world model must know about it: shapes, rates, distances and calibrated energies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from jepa_common.registry import Registry
from jepa_world_model.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

METRIC_DISTANCES = ("metric", "metric_gripper", "scene")
"""Those that take the checkpoint's linear map; their unit is about a metre."""

DISTANCES: Registry[Callable[[Tensor, Tensor, Tensor | None], Tensor]] = Registry(
    "jepa_ros.distances",
    "distance",
    {
        "l1": "jepa_world_model.energy:l1",
        "l2": "jepa_world_model.energy:l2",
        "cosine": "jepa_world_model.energy:cosine",
        **dict.fromkeys(METRIC_DISTANCES, "jepa_world_model.energy:no_metric"),
    },
)
"""Distances of latents ``[..., N, D]`` to a goal ``[N, D]``, both float32, with weights ``[N]`` or None: ``[...]``."""

if TYPE_CHECKING:
    Distance = str
    AnyDistance = str
else:
    # What a command line offers: what is installed when the program starts.
    Distance = Literal[DISTANCES.names()]
    AnyDistance = Literal["", Distance]
"""A distance that may be left to the card."""


@dataclass(frozen=True)
class ModelCard:
    """Description of a world model, stored in its checkpoint.

    Attributes:
        name: of the checkpoint.
        version: first 12 hex digits of the SHA-256 of the weights; set when a checkpoint is written or read.
        image_size: side of the square that the encoder sees, pixels.
        short_side: frames are scaled so that their short side has this many pixels before the centre crop; None is
            ``image_size``.
        mean, std: by which the encoder's input is normalised, per channel of 0 to 1.
        tokens, dim: shape of one frame's latent.
        state_dim, action_dim: sizes of a proprioceptive state and of an action.
        control_rate_hz: rate at which the actions of the training data followed each other.
        max_step_m: longest translation per action that the model has seen often, metres.
        context_frames: frames that a rollout should start from.
        distance: how the energy compares latents.
        reach_energy: energy below which the goal counts as reached; None when nobody measured it.
        reach_tolerance_m: distance that ``reach_energy`` was calibrated for, metres.
        energy_per_meter: slope of the energy over the distance to the goal, near the goal; None when not measured.
        scene_rows: rows of the checkpoint's linear map, its last ones, that follow small things in the picture.
        gripper_weight_m: metres that a full stroke of the gripper counts in the distance "metric", whose last row tells
            the closedness.
        planned_gripper_weight_m: the same in "metric_gripper", where it stands out from what the pose is uncertain by.
        surprise_energy: prediction error above which what came is called unexpected; None when not measured.
    """

    name: str
    version: str = ""
    image_size: int = 256
    short_side: int | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    tokens: int = 256
    dim: int = 1408
    state_dim: int = 7
    action_dim: int = 7
    control_rate_hz: float = 4.0
    max_step_m: float = 0.075
    context_frames: int = 1
    distance: Distance = "l1"
    reach_energy: float | None = None
    reach_tolerance_m: float | None = None
    energy_per_meter: float | None = None
    scene_rows: int = 0
    gripper_weight_m: float = 0.01
    planned_gripper_weight_m: float = 0.1
    surprise_energy: float | None = None

    @property
    def model_id(self) -> str:
        """``name@version``, as latent messages carry it."""
        return f"{self.name}@{self.version}"

    def measured_by(self, distance: str) -> ModelCard:
        """The same model, whose energies compare latents by ``distance``; "" leaves it as it is.

        What was calibrated for another distance is in another unit, so it counts as not measured.

        Raises:
            ValueError: there is no such distance.
        """
        if distance in ("", self.distance):
            return self
        names = DISTANCES.names()
        if distance not in names:
            raise ValueError(f"distance: expected {', '.join(names)} or nothing, got {distance!r}")
        if {distance, self.distance} <= set(METRIC_DISTANCES):
            return replace(self, distance=distance)
        return replace(
            self,
            distance=distance,
            reach_energy=None,
            reach_tolerance_m=None,
            energy_per_meter=None,
            surprise_energy=None,
        )

    @property
    def preprocess(self) -> Preprocess:
        """How camera frames become the encoder's input."""
        return Preprocess(self.image_size, self.short_side, mean=self.mean, std=self.std)

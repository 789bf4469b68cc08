"""What a user of a world model must know about it: shapes, rates, distances and calibrated energies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jepa_world_model.preprocess import SQUEEZED_ASPECT, Interpolation, Preprocess, Resize

Distance = Literal["l1", "l2", "cosine", "metric", "metric_gripper"]
SolverPreset = Literal["table", "vjepa2_ac_paper", "vjepa2_ac_wrapper"]
"""How plans are searched for; see :mod:`jepa_planner.solvers.presets`."""


@dataclass(frozen=True)
class ModelCard:
    """Description of a world model, stored in its checkpoint.

    Attributes:
        name: of the checkpoint.
        version: first 12 hex digits of the SHA-256 of the weights; set when a checkpoint is written or read.
        image_size: side of the square that the encoder sees, pixels.
        short_side: frames are scaled so that their short side has this many pixels before the centre crop; None is
            ``image_size``.
        resize, interpolation, aspect: how frames become squares; see :class:`~jepa_world_model.preprocess.Preprocess`.
        tokens, dim: shape of one frame's latent.
        state_dim, action_dim: sizes of a proprioceptive state and of an action.
        control_rate_hz: rate at which the actions of the training data followed each other.
        max_step_m: longest translation per action that the model has seen often, metres.
        context_frames: frames that a rollout should start from.
        distance: how the energy compares latents.
        reach_energy: energy below which the goal counts as reached; None when nobody measured it.
        reach_tolerance_m: distance that ``reach_energy`` was calibrated for, metres.
        energy_per_meter: slope of the energy over the distance to the goal, near the goal; None when not measured.
        gripper_weight_m: metres that a full stroke of the gripper counts in the distance "metric", whose last row tells
            the closedness.
        planned_gripper_weight_m: the same in "metric_gripper", by which a planned gripper is planned: there it has to
            stand out from what the pose is uncertain by.
        surprise_energy: prediction error above which what came is called unexpected; None when not measured.
        solver_preset: how plans are searched for with this model, unless a planner is told otherwise.
    """

    name: str
    version: str = ""
    image_size: int = 256
    short_side: int | None = None
    resize: Resize = "crop"
    interpolation: Interpolation = "area"
    aspect: tuple[float, float] = SQUEEZED_ASPECT
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
    gripper_weight_m: float = 0.01
    planned_gripper_weight_m: float = 0.1
    surprise_energy: float | None = None
    solver_preset: SolverPreset = "table"

    @property
    def model_id(self) -> str:
        """``name@version``, as latent messages carry it."""
        return f"{self.name}@{self.version}"

    @property
    def gripper_distance(self) -> Distance:
        """The distance by which a planned gripper is planned."""
        return "metric_gripper" if self.distance == "metric" else self.distance

    @property
    def preprocess(self) -> Preprocess:
        """How camera frames become the encoder's input."""
        return Preprocess(self.image_size, self.short_side, self.resize, self.interpolation, self.aspect)

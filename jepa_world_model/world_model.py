"""The world model that planners and nodes use: encode camera frames, imagine futures, measure energies."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_world_model.action_predictor import ActionConditionedPredictor
from jepa_world_model.checkpoint import (
    DECODER,
    PARTS,
    CheckpointError,
    load_decoder_of,
    load_encoder_of,
    load_metric,
    load_predictor_of,
    load_statistics,
    open_world_model,
)
from jepa_world_model.compiled_blocks import CompileMode, begin_compiled_step
from jepa_world_model.encoders import Encoder, EncoderSource, encoder_card, frame_latents
from jepa_world_model.energy import latent_distance, region_weights
from jepa_world_model.model_card import METRIC_DISTANCES, Distance, ModelCard
from jepa_world_model.official_checkpoints import (
    NetworkShapes,
    OfficialCheckpoint,
    is_official,
    official_version,
    open_official,
)
from jepa_world_model.picture_decoder import PictureDecoder, to_pixels
from jepa_world_model.rollout import CachedRollout, RolloutInputs, bytes_per_candidate, in_parts, memory_budget

__all__ = ["ModelCard", "WorldModel"]

Array = NDArray[np.floating] | Tensor
_CPU = torch.device("cpu")
_PICTURES_AT_ONCE = 32
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class WorldModel:
    """A frozen encoder, a predictor, and what is needed to use them. Safe to call from one thread at a time.

    Attributes:
        card: shapes, rates, distance and calibration.
        encoder, predictor: the networks; None when that part was not loaded.
        statistics: mean and standard deviation ``[tokens, dim]`` that standardise latents, or None.
        metric: linear map ``[K, tokens * dim]`` of the distance "metric", or None.
        token_weights: how much each token counts in a distance ``[tokens]``; None counts all alike. See
            :meth:`looking_at`.
        device, dtype: where and in which precision the networks run. Latents go in and out as float32. In float32,
            energies are those of the published loop within 1e-5; in bfloat16 within 2e-3, where they are about 1, and
            features of unit variance within 0.08 (``test_golden_networks.py``).
        memory_bytes: what a rollout may take; more candidates than fit are rolled out in parts. None measures what is
            left on a graphics card, and takes a size that suits the caches on a CPU.
        compile_mode: how rollouts are compiled; None leaves them as they are. See :meth:`compiled`.
        decoder: shows latents as pictures, see :meth:`pictures`; None when it was not loaded, or the file holds none.
    """

    card: ModelCard
    encoder: Encoder | None
    predictor: ActionConditionedPredictor | None
    statistics: tuple[Tensor, Tensor] | None = None
    metric: Tensor | None = None
    token_weights: Tensor | None = None
    device: torch.device = _CPU
    dtype: torch.dtype = torch.float32
    memory_bytes: int | None = None
    compile_mode: CompileMode | None = None
    decoder: PictureDecoder | None = None

    @classmethod
    def load(
        cls,
        path_or_name: str | Path,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        parts: Collection[str] = PARTS,
        shapes: NetworkShapes | None = None,
    ) -> WorldModel:
        """Load a checkpoint of this package, or a released file.

        Args:
            path_or_name: a ``.safetensors`` file, the name of one in ``models/checkpoints``, an official ``.pt``, or a
                Hugging Face folder, or an encoder as ``KIND:NAME@FILE``, such as ``timm:resnet18@resnet18.pth``.
            device: such as "cpu" or "cuda".
            dtype: "float32", "bfloat16" or "float16".
            parts: which of "encoder", "predictor" and "decoder" to load; a node that only encodes leaves the predictor
                on disk. A model without a picture decoder is loaded all the same.
            shapes: of the networks of an official file that is no released model.

        Raises:
            CheckpointError: the file is missing, damaged, changed or of another kind.
            ValueError: unknown dtype or part.
        """
        device, dtype = torch.device(device), _parse_dtype(dtype)
        if unknown := set(parts) - {*PARTS, DECODER}:
            raise ValueError(f"expected parts of {[*PARTS, DECODER]}, got {sorted(unknown)}")
        if (source := EncoderSource.parse(path_or_name)) is not None:
            return cls._load_encoder(source, device, dtype)
        if is_official(Path(path_or_name)):
            return cls._load_official(open_official(Path(path_or_name), shapes=shapes), device, dtype, parts)
        file = open_world_model(path_or_name)
        encoder = load_encoder_of(file, device, dtype) if "encoder" in parts else None
        predictor = load_predictor_of(file, device, dtype) if "predictor" in parts else None
        decoder = load_decoder_of(file, device) if DECODER in parts else None
        statistics, metric = load_statistics(file, device), load_metric(file, device)
        return cls(file.card, encoder, predictor, statistics, metric, device=device, dtype=dtype, decoder=decoder)

    @classmethod
    def _load_encoder(cls, source: EncoderSource, device: torch.device, dtype: torch.dtype) -> WorldModel:
        encoder = source.open(device, dtype)
        return cls(encoder_card(encoder.config, source.name, source.version), encoder, None, device=device, dtype=dtype)

    @classmethod
    def _load_official(
        cls, official: OfficialCheckpoint, device: torch.device, dtype: torch.dtype, parts: Collection[str]
    ) -> WorldModel:
        encoder = official.load("encoder", device, dtype) if "encoder" in parts else None
        predictor = official.load("action_predictor", device, dtype) if "predictor" in parts else None
        source = official.weights.source
        card = official.card(source.stem, official_version(source))
        return cls(card, encoder, predictor, device=device, dtype=dtype)

    def compiled(self, mode: CompileMode = "default") -> WorldModel:
        """This model with compiled blocks: first calls of each shape take minutes, later ones are faster on a GPU.

        On a CPU it gains little, as most of the time goes into matrix products. The encoder is shared with this model
        and compiled in place.

        Args:
            mode: "default" fuses operations, "reduce-overhead" also records CUDA graphs, which pays for few frames or
                candidates at a time, "max-autotune" also searches for the fastest kernels.
        """
        if self.encoder is not None:
            for part in self.encoder.compiled_parts:
                part.compile(mode=mode)
        return replace(self, compile_mode=mode)

    @torch.inference_mode()
    def encode(self, frames: NDArray[np.uint8]) -> Tensor:
        """Latents float32 ``[B, tokens, dim]`` of camera frames uint8 RGB ``[B, H, W, 3]``, each encoded alone.

        See :func:`~jepa_world_model.encoders.frame_latents`; latents are standardised where the checkpoint says so.

        Raises:
            ValueError: frames of another shape or type.
            CheckpointError: the model has no encoder loaded.
        """
        if self.encoder is None:
            raise CheckpointError(f"{self.card.name} was loaded without its encoder; load the part 'encoder'")
        begin_compiled_step(self.compile_mode)
        images = self.card.preprocess(frames).to(self.device, self.dtype)
        return self._standardize(frame_latents(self.encoder, images))

    @torch.inference_mode()
    def pictures(self, latents: Array) -> NDArray[np.uint8]:
        """What latents ``[..., tokens, dim]``, encoded or imagined, show: uint8 RGB ``[..., S, S, 3]``.

        For people to look at; nothing is planned by it.

        Raises:
            CheckpointError: the model has no picture decoder loaded.
        """
        if self.decoder is None:
            raise CheckpointError(
                f"{self.card.name} was loaded without a picture decoder; load the part 'decoder', or add one to the"
                " checkpoint: `jepa train-decoder --model NAME --data FOLDER`"
            )
        latents = self._latent(latents)
        flat = latents.reshape(-1, self.card.tokens, self.card.dim)
        drawn = torch.cat([to_pixels(self.decoder(part)) for part in flat.split(_PICTURES_AT_ONCE)])
        return drawn.unflatten(0, latents.shape[:-2]).cpu().numpy() if latents.ndim > 2 else drawn[0].cpu().numpy()

    @torch.inference_mode()
    def rollout(self, context: Array, states: Array, actions: Array) -> Tensor:
        """Imagined latents float32 ``[S, H, tokens, dim]``.

        Args:
            context: latents ``[T, tokens, dim]``, oldest first, from :meth:`encode`.
            states: ``[T, state_dim]``, metres, radians, closedness.
            actions: ``[S, H, action_dim]`` that follow the last context frame.

        Raises:
            ValueError: shapes that do not fit the card.
            CheckpointError: the model has no predictor loaded.
        """
        inputs = self._checked(context, states, actions)
        return in_parts(lambda part: self._rollout.latents(part).float(), inputs, self._candidates_at_once(inputs))

    @torch.inference_mode()
    def energy(
        self,
        context: Array,
        states: Array,
        actions: Array,
        goal: Array,
        distance: Distance | None = None,
        sum_over_horizon: bool = False,
    ) -> Tensor:
        """Energies float32 ``[S]`` of action sequences: distance of the imagined future to ``goal``.

        Args:
            context: as in :meth:`rollout`, like ``states`` and ``actions``.
            states: see there.
            actions: see there.
            goal: latent ``[tokens, dim]``.
            distance: None is the card's.
            sum_over_horizon: sum the distances of all steps instead of taking the last one's.
        """
        inputs, goal = self._checked(context, states, actions), self._latent(goal)
        distance = distance or self.card.distance

        def energies(part: RolloutInputs) -> Tensor:
            per_step = [self.distance(latents, goal, distance) for latents in self._rollout.steps(part)]
            return torch.stack(per_step).sum(dim=0) if sum_over_horizon else per_step[-1]

        return in_parts(energies, inputs, self._candidates_at_once(inputs))

    def distance(self, latents: Array, goal: Array, distance: Distance | None = None) -> Tensor:
        """Distance ``[...]`` of latents ``[..., tokens, dim]`` to ``goal`` ``[tokens, dim]``; None is the card's.

        Differentiable; see :func:`jepa_world_model.energy.latent_distance`.

        Raises:
            ValueError: shapes that differ, or "metric" where the checkpoint holds none.
        """
        chosen = distance or self.card.distance
        metric = self.metric_of(chosen)
        return latent_distance(self._latent(latents), self._latent(goal), chosen, metric, self.token_weights)

    def metric_of(self, distance: Distance) -> Tensor | None:
        """The linear map ``[K, tokens * dim]`` of a distance; None for those that need none, or have none here.

        "metric" takes the robot's rows, "metric_gripper" the same with the closedness, their last, at the weight of a
        planned gripper, "scene" adds the rows that follow small things.
        """
        if self.metric is None:
            return None
        return self._metrics.get(distance)

    @functools.cached_property
    def _metrics(self) -> dict[Distance, Tensor]:
        rows = self._robot_rows
        gripper = rows.clone()
        gripper[-1] *= self.card.planned_gripper_weight_m / self.card.gripper_weight_m
        metrics: dict[Distance, Tensor] = {"metric": rows, "metric_gripper": gripper}
        if self.card.scene_rows and self.metric is not None:
            metrics["scene"] = torch.cat([gripper, self.metric[len(rows) :]])
        return metrics

    @functools.cached_property
    def _robot_rows(self) -> Tensor:
        if self.metric is None:
            raise ValueError(f"{self.card.name} holds no metric")
        return self.metric[: len(self.metric) - self.card.scene_rows]

    def gripper_change(self, latent: Array, goal: Array) -> float:
        """How much further closed (-1..1) the fingers are in ``goal`` than in ``latent``, both ``[tokens, dim]``.

        Read off the metric's last row; NaN where the checkpoint holds no metric.
        """
        if self.metric is None:
            return float("nan")
        difference = (self._latent(goal) - self._latent(latent)).flatten()
        return float(self._robot_rows[-1] @ difference) / self.card.gripper_weight_m

    def weighing_gripper(self, metres: float) -> WorldModel:
        """The same model, in whose distance "metric_gripper" a full stroke counts so many ``metres``; 0: as it does.

        Raises:
            ValueError: a negative weight.
        """
        if not metres >= 0:
            raise ValueError(f"expected a gripper weight of 0 m or more, got {metres}")
        if metres == 0:
            return self
        return replace(self, card=replace(self.card, planned_gripper_weight_m=metres))

    def measured_by(self, distance: str) -> WorldModel:
        """The same model, whose energies compare latents by ``distance``; "" leaves the card's.

        Raises:
            ValueError: there is no such distance, "metric" where the checkpoint holds none, or beside a region.
        """
        card = self.card.measured_by(distance)
        if card.distance in METRIC_DISTANCES and self.metric is None:
            raise ValueError(f"distance: {card.name} holds no metric; ask for l1, l2 or cosine")
        if card.distance == "scene" and not card.scene_rows:
            raise ValueError(f"distance: the metric of {card.name} follows no things; ask for another one")
        if card.distance in METRIC_DISTANCES and self.token_weights is not None:
            raise ValueError(f"{card.name} measures whole pictures by its metric: with a region, ask for another one")
        return replace(self, card=card)

    def looking_at(self, region: Sequence[float]) -> WorldModel:
        """The same model, whose distances look at a part of the picture only.

        Args:
            region: left, top, right and bottom edge as shares of the width and height; empty looks at all of it.

        Raises:
            ValueError: edges that are not in order, or the card's distance is fitted to whole pictures.
        """
        if not region:
            return replace(self, token_weights=None)
        if self.card.distance == "metric":
            raise ValueError(
                f"{self.card.name} measures whole pictures by its metric: with a region, ask for the distance l1"
            )
        weights = region_weights(round(self.card.tokens**0.5), region)
        return replace(self, token_weights=weights.to(self.device))

    @functools.cached_property
    def _rollout(self) -> CachedRollout:
        if self.predictor is None:
            raise CheckpointError(f"{self.card.name} was loaded without its predictor; load the part 'predictor'")
        return CachedRollout(self.predictor, self.compile_mode)

    def _candidates_at_once(self, inputs: RolloutInputs) -> int:
        frames, horizon = inputs.states.shape[0], inputs.actions.shape[1]
        needed = bytes_per_candidate(self._rollout.config, frames, horizon, self.dtype.itemsize)
        budget = memory_budget(self.device, needed) if self.memory_bytes is None else self.memory_bytes
        return max(1, budget // needed)

    def _standardize(self, latents: Tensor) -> Tensor:
        if self.statistics is None:
            return latents
        mean, std = self.statistics
        return (latents - mean) / std

    def _latent(self, value: Array) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float32, device=self.device)

    def _checked(self, context: Array, states: Array, actions: Array) -> RolloutInputs:
        card, inputs = self.card, tuple(self._latent(value) for value in (context, states, actions))
        frames, candidates = inputs[0].shape[:1], inputs[2].shape[:2]
        expected = ((*frames, card.tokens, card.dim), (*frames, card.state_dim), (*candidates, card.action_dim))
        got = tuple(tuple(value.shape) for value in inputs)
        if got != expected or 0 in (*frames, *candidates) or len(candidates) != 2:
            raise ValueError(
                f"expected context [T, {card.tokens}, {card.dim}], states [T, {card.state_dim}] and actions"
                f" [S, H, {card.action_dim}], got {[list(shape) for shape in got]}"
            )
        return RolloutInputs(inputs[0].to(self.dtype), inputs[1], inputs[2])


def _parse_dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _DTYPES:
        raise ValueError(f"expected a dtype of {', '.join(_DTYPES)}, got {dtype!r}")
    return _DTYPES[dtype]

"""The masked objective of V-JEPA 2 (section 2.1), with the 2.1 recipe and terms against collapse as options.

A predictor fills in an encoder's tokens at hidden places of a clip from the visible ones. The targets come from a
moving average of the encoder that sees the whole clip, layer-normed; the error is L1.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_world_model.masked_predictor import MaskedPredictor, MaskedPredictorConfig
from jepa_world_model.rope import Generation, grid_positions
from jepa_world_model.training.augment import CropConfig
from jepa_world_model.training.distributed import gather_rows
from jepa_world_model.training.masks import LONG_RANGE, SHORT_RANGE, Grid, MaskConfig, TokenMask
from jepa_world_model.training.sigreg import random_directions, sigreg
from jepa_world_model.training.vicreg import covariance_loss, variance_loss
from jepa_world_model.vision_transformer import VisionTransformer

_FIRST_GRID = 16
"""Patches along a side of a picture of 256 pixels."""


@dataclass(frozen=True)
class VJepaConfig:
    """The masked objective.

    Attributes:
        frames: per clip; a multiple of the tubelet.
        max_stride: frames of a clip lie 1 to this many control periods apart.
        image_size: side of the images, pixels; 0 takes those of the data.
        cooldown_frames, cooldown_image_size: the same during the schedule's cool-down (progressive resolution,
            V-JEPA 2, section 2.3); 0 keeps the value from before.
        masks: kinds of masks; each clip is masked once by every one.
        predictor_dim, predictor_depth, predictor_heads: of the masked predictor.
        predictor_generation: whose predictor: see :class:`MaskedPredictorConfig`.
        shared_mask_token: all kinds of masks share one learned token, as published, where tokens differ by the clips'
            length; otherwise each kind has its own.
        ema: share of the target encoder that stays at every step.
        context_weight: weight of the error at visible tokens, divided by the root of their distance to the next
            hidden one (2.1: 0.5); 0 leaves it out.
        context_start_step: step up to which that weight is 0.
        context_warmup_steps: over which it grows from 0 then.
        context_offset: measure that distance in tokens of a 256-pixel picture, as 2.1 does for larger ones.
        cooldown_weighted: whether the division goes on in the cool-down; 2.1 counts all visible tokens alike there.
        deep_supervision: predict four levels of the encoder, not the last alone (2.1).
        sigreg_weight: weight of SIGReg on the clips' mean tokens, linearly projected.
        variance_weight, covariance_weight: weights of VICReg's terms on the same.
        projection_dim, sigreg_directions: size of that projection, and random directions per step.
        crop: random crops of the clips.
    """

    frames: int = 16
    max_stride: int = 1
    image_size: int = 0
    cooldown_frames: int = 0
    cooldown_image_size: int = 0
    masks: tuple[MaskConfig, ...] = (SHORT_RANGE, LONG_RANGE)
    predictor_dim: int = 96
    predictor_depth: int = 4
    predictor_heads: int = 3
    predictor_generation: Generation = "2.0"
    shared_mask_token: bool = False
    ema: float = 0.99925
    context_weight: float = 0.0
    context_start_step: int = 0
    context_warmup_steps: int = 0
    context_offset: bool = False
    cooldown_weighted: bool = True
    deep_supervision: bool = False
    sigreg_weight: float = 0.0
    variance_weight: float = 0.0
    covariance_weight: float = 0.0
    projection_dim: int = 64
    sigreg_directions: int = 256
    crop: CropConfig = field(default_factory=CropConfig)

    @property
    def regularized(self) -> bool:
        """Whether a term against collapse is on."""
        return max(self.sigreg_weight, self.variance_weight, self.covariance_weight) > 0

    @property
    def mask_tokens(self) -> int:
        """Learned mask tokens that are used."""
        return 1 if self.shared_mask_token else len(self.masks)


@dataclass(frozen=True)
class VJepaBatch:
    """One step's tensors.

    Attributes:
        clips: ``[B, 3, T, S, S]``, normalised.
        masks: one per kind.
        grid: tokens of a clip along time, height and width.
        context_weight: of the error at visible tokens, at this step.
        seed: of the random directions.
        weighted: whether errors at visible tokens are divided by the root of their distance.
    """

    clips: Tensor
    masks: tuple[TokenMask, ...]
    grid: Grid
    context_weight: float
    seed: int
    weighted: bool = True


class VJepaModel(nn.Module):
    """Encoder, its moving average, and the predictor.

    Args:
        encoder: the encoder to train; its weights are also the first targets.
        config: the objective.
        predictor: a pretrained one; None starts from scratch.
    """

    def __init__(
        self, encoder: VisionTransformer, config: VJepaConfig, predictor: MaskedPredictor | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.config = encoder, config
        _freeze_unused(encoder, config)
        self.target_encoder = copy.deepcopy(encoder).requires_grad_(False).eval()
        self.predictor = MaskedPredictor(_predictor_config(encoder, config)) if predictor is None else predictor
        _freeze_unused_of_predictor(self.predictor, config)
        features, outputs = encoder.config.embed_dim * self._levels, config.projection_dim
        self.projection: nn.Linear | None
        self.projection = nn.Linear(features, outputs, bias=False) if config.regularized else None

    @property
    def _levels(self) -> int:
        return 4 if self.config.deep_supervision else 1

    def forward(self, batch: VJepaBatch) -> dict[str, Tensor]:
        """Named terms and their weighted sum ``loss``."""
        targets = self.targets(batch.clips)
        terms: list[dict[str, Tensor]] = []
        for index, mask in enumerate(batch.masks):
            context = self._encode(self.encoder, batch.clips, mask.context)
            token = index % self.config.mask_tokens
            predicted = self.predictor.everywhere(context, mask.context, mask.target, token, batch.grid)
            terms.append(self._errors(predicted, targets, mask, batch) | self._spread(context, batch.seed + index))
        losses = {name: torch.stack([term[name] for term in terms]).mean() for name in terms[0]}
        return {"loss": self._total(losses, batch.context_weight), **losses}

    @torch.no_grad()
    def targets(self, clips: Tensor) -> Tensor:
        """Layer-normed tokens ``[B, N, levels * D]`` of whole clips, from the moving average."""
        tokens = self._encode(self.target_encoder, clips, None).float()
        levels = tokens.unflatten(-1, (self._levels, -1))
        return F.layer_norm(levels, levels.shape[-1:]).flatten(-2)

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the target encoder toward the encoder."""
        for target, online in zip(self.target_encoder.parameters(), self.encoder.parameters(), strict=True):
            target.lerp_(online, 1.0 - self.config.ema)

    def _encode(self, encoder: VisionTransformer, clips: Tensor, mask: Tensor | None) -> Tensor:
        if not self.config.deep_supervision:
            return encoder(clips, mask)
        return torch.cat(encoder.intermediate(clips, masks=mask), dim=-1)

    def _errors(self, predicted: Tensor, targets: Tensor, mask: TokenMask, batch: VJepaBatch) -> dict[str, Tensor]:
        visible = mask.context.shape[1]
        hidden_error = F.l1_loss(predicted[:, visible:].float(), _at(targets, mask.target))
        if not self.config.context_weight:
            return {"masked": hidden_error}
        error = (predicted[:, :visible].float() - _at(targets, mask.context)).abs().mean(dim=-1)
        if batch.weighted:
            error = error / self._distance(mask, batch.grid).sqrt()
        return {"masked": hidden_error, "context": error.mean()}

    def _distance(self, mask: TokenMask, grid: Grid) -> Tensor:
        distance = hidden_distance(mask, grid)
        return distance / max(1, grid[1] // _FIRST_GRID) if self.config.context_offset else distance

    def _spread(self, context: Tensor, seed: int) -> dict[str, Tensor]:
        """Terms against collapse, on what the visible tokens of each clip say on average."""
        config = self.config
        if self.projection is None:
            return {}
        latents = gather_rows(self.projection(context.float().mean(dim=1)))
        directions = random_directions(
            config.projection_dim, config.sigreg_directions, torch.Generator().manual_seed(seed)
        )
        return {
            "sigreg": sigreg(latents, directions.to(latents)),
            "variance": variance_loss(latents),
            "covariance": covariance_loss(latents),
        }

    def _total(self, losses: dict[str, Tensor], context_weight: float) -> Tensor:
        config = self.config
        weights = {
            "masked": 1.0,
            "context": context_weight,
            "sigreg": config.sigreg_weight,
            "variance": config.variance_weight,
            "covariance": config.covariance_weight,
        }
        # The error at visible tokens keeps its place while its weight is 0: its layer has to have a gradient.
        kept = [name for name in losses if name == "context" or weights[name]]
        return torch.stack([weights[name] * losses[name] for name in kept if name in weights]).sum()


def hidden_distance(mask: TokenMask, grid: Grid) -> Tensor:
    """Distance ``[B, K]`` of each visible token to the nearest hidden one of its clip, in tokens (at least 1)."""
    positions = grid_positions(*grid, device=mask.context.device)
    return torch.cdist(positions[mask.context], positions[mask.target]).amin(dim=-1).clamp(min=1.0)


def _at(tokens: Tensor, indices: Tensor) -> Tensor:
    return tokens.gather(1, indices.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def _freeze_unused(encoder: VisionTransformer, config: VJepaConfig) -> None:
    """Parts of a 2.1 encoder that this objective does not reach: several processes would wait for their gradients."""
    if encoder.config.generation == "2.0":
        return
    encoder.patch_embed_img.requires_grad_(False)
    encoder.img_mod_embed.requires_grad_(False)
    if not config.deep_supervision:
        for norm in list(encoder.norms_block)[:-1]:
            norm.requires_grad_(False)


def _freeze_unused_of_predictor(predictor: MaskedPredictor, config: VJepaConfig) -> None:
    """The same for a predictor of 2.1, which sees clips here, and no images."""
    if predictor.config.generation == "2.0":
        return
    predictor.img_mod_embed.requires_grad_(False)
    if not config.context_weight:
        predictor.predictor_proj_context.requires_grad_(False)


def _predictor_config(encoder: VisionTransformer, config: VJepaConfig) -> MaskedPredictorConfig:
    shape, levels = encoder.config, 4 if config.deep_supervision else 1
    own_levels = config.predictor_generation == "2.1"
    return MaskedPredictorConfig(
        image_size=shape.image_size,
        num_frames=config.frames,
        embed_dim=shape.embed_dim * (1 if own_levels else levels),
        levels=levels if own_levels else 1,
        generation=config.predictor_generation,
        rotary_grid=shape.rotary_grid,
        predictor_dim=config.predictor_dim,
        depth=config.predictor_depth,
        num_heads=config.predictor_heads,
        num_mask_tokens=config.mask_tokens,
    )


def predictor_for(encoder_predictor: MaskedPredictor, config: VJepaConfig) -> MaskedPredictor:
    """An official predictor with the mask tokens that are used: others would have no gradient.

    Raises:
        ValueError: it predicts one level, and the objective wants four.
    """
    if config.deep_supervision:
        raise ValueError("a released masked predictor knows one level; leave it out or deep supervision off")
    kept = min(config.mask_tokens, len(encoder_predictor.mask_tokens))
    encoder_predictor.mask_tokens = encoder_predictor.mask_tokens[:kept]
    encoder_predictor.config = replace(encoder_predictor.config, num_mask_tokens=kept)
    return encoder_predictor

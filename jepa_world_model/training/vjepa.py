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
from jepa_world_model.rope import grid_positions
from jepa_world_model.training.augment import CropConfig
from jepa_world_model.training.distributed import gather_rows
from jepa_world_model.training.masks import LONG_RANGE, SHORT_RANGE, Grid, MaskConfig, TokenMask
from jepa_world_model.training.sigreg import random_directions, sigreg
from jepa_world_model.training.vicreg import covariance_loss, variance_loss
from jepa_world_model.vision_transformer import VisionTransformer


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
        ema: share of the target encoder that stays at every step.
        context_weight: weight of the error at visible tokens, divided by the root of their distance to the next
            hidden one (2.1: 0.5); 0 leaves it out.
        context_warmup_steps: over which that weight grows from 0.
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
    ema: float = 0.99925
    context_weight: float = 0.0
    context_warmup_steps: int = 0
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


@dataclass(frozen=True)
class VJepaBatch:
    """One step's tensors.

    Attributes:
        clips: ``[B, 3, T, S, S]``, normalised.
        masks: one per kind.
        grid: tokens of a clip along time, height and width.
        context_weight: of the error at visible tokens, at this step.
        seed: of the random directions.
    """

    clips: Tensor
    masks: tuple[TokenMask, ...]
    grid: Grid
    context_weight: float
    seed: int


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
            predicted = self.predictor.everywhere(context, mask.context, mask.target, index, batch.grid)
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
        return {"masked": hidden_error, "context": (error / hidden_distance(mask, batch.grid).sqrt()).mean()}

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
        return torch.stack([weights[name] * value for name, value in losses.items() if weights[name]]).sum()


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


def _predictor_config(encoder: VisionTransformer, config: VJepaConfig) -> MaskedPredictorConfig:
    shape = encoder.config
    return MaskedPredictorConfig(
        image_size=shape.image_size,
        num_frames=config.frames,
        embed_dim=shape.embed_dim * (4 if config.deep_supervision else 1),
        predictor_dim=config.predictor_dim,
        depth=config.predictor_depth,
        num_heads=config.predictor_heads,
        num_mask_tokens=len(config.masks),
    )


def predictor_for(encoder_predictor: MaskedPredictor, config: VJepaConfig) -> MaskedPredictor:
    """An official predictor with one mask token per kind of mask: unused ones would have no gradient.

    Raises:
        ValueError: it predicts one level, and the objective wants four.
    """
    if config.deep_supervision:
        raise ValueError("a released masked predictor knows one level; leave it out or deep supervision off")
    kept = min(len(config.masks), len(encoder_predictor.mask_tokens))
    encoder_predictor.mask_tokens = encoder_predictor.mask_tokens[:kept]
    encoder_predictor.config = replace(encoder_predictor.config, num_mask_tokens=kept)
    return encoder_predictor

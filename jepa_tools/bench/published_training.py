"""The published way to pretrain, written plainly: what ``bench train`` compares with.

Every clip is decoded from its video when it is needed, cropped and normalised frame by frame; then context, targets
and predictions are computed mask by mask, in one process and one thread of Python.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from jepa_world_model.data.lerobot import LeRobotDataset
from jepa_world_model.masked_predictor import MaskedPredictor
from jepa_world_model.preprocess import IMAGENET_MEAN, IMAGENET_STD
from jepa_world_model.training.masks import Grid, draw_mask
from jepa_world_model.training.vjepa import VJepaConfig, VJepaModel


@dataclass(frozen=True)
class PlainStep:
    """What a step needs to know.

    Attributes:
        batch: clips.
        config: the masked objective.
        image_size: side of the crops, pixels.
        grid: tokens of a clip.
        bf16: whether the forward pass runs under autocast, as published.
    """

    batch: int
    config: VJepaConfig
    image_size: int
    grid: Grid
    bf16: bool


class PlainTraining:
    """One step after the other on a LeRobot dataset; the same networks, masks, loss and optimiser as ours."""

    def __init__(self, dataset: LeRobotDataset, model: VJepaModel, step: PlainStep, device: torch.device) -> None:
        self._dataset, self._step, self._device = dataset, step, device
        self._camera = next(iter(dataset.cameras))
        self._encoder, self._predictor = copy.deepcopy(model.encoder), copy.deepcopy(model.predictor)
        self._target = copy.deepcopy(model.target_encoder)
        parameters = [*self._encoder.parameters(), *self._predictor.parameters()]
        self._optimizer = torch.optim.AdamW(parameters, lr=1e-4)
        self._generator = np.random.default_rng(0)
        crop = step.config.crop
        aspects = (crop.least_aspect, crop.largest_aspect)
        self._augment = v2.Compose([
            v2.RandomResizedCrop(step.image_size, (crop.least_area, 1.0), aspects, antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ])  # fmt: skip

    def advance(self) -> float:
        """Decode, augment, forward, backward, update; returns the loss."""
        clips = torch.stack([self._clip() for _ in range(self._step.batch)]).to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._step.bf16):
            loss = self._loss(clips)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._update_target()
        return float(loss.detach())

    def _clip(self) -> Tensor:
        """One clip ``[3, T, S, S]``, decoded and cropped now."""
        frames = self._step.config.frames
        episode = int(self._generator.integers(len(self._dataset)))
        start = int(self._generator.integers(self._dataset.episodes[episode].length - frames + 1))
        pictures = np.stack(list(self._dataset.pictures(episode, self._camera, start, start + frames)))
        return self._augment(torch.from_numpy(pictures).permute(0, 3, 1, 2)).transpose(0, 1)

    def _loss(self, clips: Tensor) -> Tensor:
        step = self._step
        masks = [draw_mask(kind, step.grid, step.batch, self._generator).to(self._device) for kind in step.config.masks]
        with torch.no_grad():
            targets = self._target(clips)
            targets = F.layer_norm(targets.float(), targets.shape[-1:])
        losses = []
        for index, mask in enumerate(masks):
            predicted = self._predict(clips, mask.context, mask.target, index)
            places = mask.target.unsqueeze(-1).expand(-1, -1, targets.shape[-1])
            losses.append((predicted.float() - targets.gather(1, places)).abs().mean())
        return torch.stack(losses).mean()

    def _predict(self, clips: Tensor, context: Tensor, target: Tensor, index: int) -> Tensor:
        predictor: MaskedPredictor = self._predictor
        return predictor(self._encoder(clips, context), context, target, index, self._step.grid)

    def _update_target(self) -> None:
        with torch.no_grad():
            for target, online in zip(self._target.parameters(), self._encoder.parameters(), strict=True):
                target.mul_(self._step.config.ema).add_((1.0 - self._step.config.ema) * online)

"""Read-outs: how precisely frozen latents, encoded or predicted, tell where the tool and the objects are.

Objects' places are a simulator's, and labels: they measure, no training sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_world_model.data.episodes import EpisodeArrays
from jepa_world_model.training.ridge import Moments

Readout = Callable[[Tensor], Tensor]
"""Maps latents ``[N, tokens, dim]`` to targets ``[N, K]``."""

_RIDGES = (3e-5, 3e-4, 3e-3, 3e-2, 0.3)
_HELD_OUT_SHARE = 0.1
_LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class Quantity:
    """Some columns of the targets: a place in m, or the closedness."""

    name: str
    columns: slice

    @property
    def unit(self) -> float:
        """What errors are multiplied by: places are told in cm."""
        return 1.0 if self.name == CLOSEDNESS else 100.0


CLOSEDNESS, OBJECT = "closedness", "object"


@dataclass(frozen=True)
class ReadoutError:
    """Held-out error of one quantity: median and 90th percentile of its norm; cm, closedness as it is."""

    quantity: str
    median: float
    p90: float


@dataclass(frozen=True)
class AttentiveConfig:
    """The attentive read-out and how it is trained.

    Attributes:
        queries, width: learned queries, and the width of what they look at.
        steps, batch, learning_rate: of AdamW under a cosine.
    """

    queries: int = 8
    width: int = 96
    steps: int = 2500
    batch: int = 128
    learning_rate: float = 3e-3


def readout_targets(episodes: EpisodeArrays) -> tuple[Tensor, tuple[Quantity, ...]]:
    """Targets ``[E, T, K]``, float32: tool, objects where they are known, closedness; and which columns are which."""
    parts = [episodes.states[..., :3]]
    names = ["tool"]
    if episodes.objects is not None:
        count = episodes.objects.shape[2]
        parts.extend(episodes.objects[:, :, index] for index in range(count))
        names.extend(f"{OBJECT} {index + 1}" for index in range(count))
    parts.append(episodes.states[..., 6:])
    quantities = [Quantity(name, slice(3 * index, 3 * index + 3)) for index, name in enumerate(names)]
    quantities.append(Quantity(CLOSEDNESS, slice(3 * len(names), 3 * len(names) + 1)))
    return torch.from_numpy(np.concatenate(parts, axis=-1)).float(), tuple(quantities)


def fit_linear(latents: Tensor, targets: Tensor) -> Readout:
    """Ridge regression on latents ``[N, tokens, dim]`` in the order of time; the last tenth chooses the ridge."""
    split = len(latents) - max(1, round(_HELD_OUT_SHARE * len(latents)))
    moments = Moments.of(latents[:split], targets[:split])
    scale = targets.std(dim=0).clamp(min=_LEAST_DEVIATION)
    fits = [moments.solve(ridge) for ridge in _RIDGES]
    errors = [float(((fit(latents[split:]) - targets[split:]) / scale).abs().mean()) for fit in fits]
    return fits[int(np.argmin(errors))]


class AttentiveReadout(nn.Module):
    """Learned queries look at the tokens with their places; a linear layer reads what they find."""

    def __init__(self, tokens: int, dim: int, outputs: int, config: AttentiveConfig) -> None:
        super().__init__()
        width = config.width
        self.place = nn.Parameter(torch.zeros(tokens, width))
        self.embed = nn.Linear(dim, width)
        self.hidden = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.scores, self.values = nn.Linear(width, config.queries), nn.Linear(width, width)
        self.read = nn.Sequential(
            nn.Linear(config.queries * width, 2 * width), nn.GELU(), nn.Linear(2 * width, outputs)
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Standardised targets ``[N, K]`` of standardised latents ``[N, tokens, dim]``."""
        hidden = self.hidden(self.embed(latents) + self.place)
        found = torch.einsum("ntq,ntw->nqw", self.scores(hidden).softmax(dim=1), self.values(hidden))
        read: Tensor = self.read(found.flatten(1))
        return read


def fit_attentive(
    latents: Tensor, targets: Tensor, config: AttentiveConfig = AttentiveConfig(), seed: int = 0
) -> Readout:
    """Train an attentive read-out on latents ``[N, tokens, dim]`` and targets ``[N, K]``."""
    torch.manual_seed(seed)
    some = latents[:: max(1, len(latents) // 2000)].float()
    mean, std = some.mean(dim=0), some.std(dim=0)
    std = std.clamp(min=0.1 * float(std.median()))
    center, scale = targets.mean(dim=0), targets.std(dim=0).clamp(min=_LEAST_DEVIATION)
    tokens, dim = latents.shape[1:]
    model = AttentiveReadout(tokens, dim, targets.shape[1], config)
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(config.steps):
        rows = torch.randint(len(latents), (config.batch,), generator=generator)
        loss = F.smooth_l1_loss(model((latents[rows].float() - mean) / std), (targets[rows] - center) / scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()

    @torch.inference_mode()
    def read(queried: Tensor) -> Tensor:
        return torch.cat([model((part.float() - mean) / std) * scale + center for part in queried.split(1024)])

    return read


def readout_errors(
    readout: Readout, latents: Tensor, targets: Tensor, quantities: tuple[Quantity, ...]
) -> tuple[ReadoutError, ...]:
    """Errors on held-out latents ``[N, tokens, dim]`` with targets ``[N, K]``."""
    found, errors = readout(latents), []
    for quantity in quantities:
        norms = quantity.unit * (found - targets)[:, quantity.columns].norm(dim=-1)
        errors.append(ReadoutError(quantity.name, float(norms.median()), float(norms.quantile(0.9))))
    return tuple(errors)

"""Ridge regression from latents to numbers, solved from moments that are gathered in parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

_ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class LinearMap:
    """``latents.flatten(1) @ weights + bias``: weights ``[F, K]``, bias ``[K]``."""

    weights: Tensor
    bias: Tensor

    def __call__(self, latents: Tensor) -> Tensor:
        """Numbers ``[N, K]`` of latents ``[N, tokens, dim]``."""
        return latents.flatten(1).float() @ self.weights + self.bias


@dataclass(frozen=True)
class Moments:
    """Means, and centred products of features ``[F, F]`` and with targets ``[F, K]``, per row."""

    feature_mean: Tensor
    target_mean: Tensor
    gram: Tensor
    cross: Tensor

    @classmethod
    def of(cls, inputs: Tensor, targets: Tensor) -> Moments:
        """Of latents ``[N, tokens, dim]``, half precision will do, and targets ``[N, K]``."""
        rows, features = inputs.shape[0], inputs[0].numel()
        gram, cross = torch.zeros(features, features), torch.zeros(features, targets.shape[1])
        total = torch.zeros(features)
        parts = zip(inputs.split(_ROWS_AT_ONCE), targets.split(_ROWS_AT_ONCE), strict=True)
        for part, target in tqdm(parts, desc="moments", total=-(-rows // _ROWS_AT_ONCE)):
            values = part.flatten(1).float()
            gram.addmm_(values.T, values)
            cross.addmm_(values.T, target)
            total += values.sum(0)
        mean, target_mean = total / rows, targets.mean(0)
        gram.div_(rows).addr_(mean, mean, alpha=-1.0)
        return cls(mean, target_mean, gram, cross / rows - torch.outer(mean, target_mean))

    def solve(self, ridge: float) -> LinearMap:
        """The least-squares map; ``ridge`` is a share of the mean feature energy, and so suits any scale.

        A ridge that drowns in rounding, with fewer rows than features, is raised to ten times as much until it counts.
        """
        gram = self.gram.clone()
        gram.diagonal().add_(ridge * self.gram.diagonal().mean())
        factor, failed = torch.linalg.cholesky_ex(gram)
        if int(failed):
            return self.solve(10.0 * ridge)
        weights = torch.cholesky_solve(self.cross, factor)
        return LinearMap(weights, self.target_mean - self.feature_mean @ weights)

"""Muon (Jordan et al., 2024): steps that are as long in every direction of a weight matrix.

The momentum of a matrix is replaced by the nearest one with orthogonal rows or columns, found by a few Newton-Schulz
iterations, so that rare directions are learned as fast as those that dominate the gradient.

``torch.optim.Muon`` computes the same in bfloat16, which takes about as long as the rest of a training step on a
processor without bfloat16 arithmetic; here the iterations run in the parameters' own precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Coefficients of the odd polynomial of degree five that brings singular values near 1 in five iterations.
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
_SMALLEST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices ``[rows, columns]`` alone.

    A step has singular values near ``lr``, times ``sqrt(rows / columns)`` for tall matrices.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        shapes = {tuple(value.shape) for group in self.param_groups for value in group["params"] if value.ndim != 2}
        if shapes:
            raise ValueError(f"Muon trains matrices only, got parameters of shapes {sorted(shapes)}")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Moves every matrix that has a gradient."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum_buffer"]
        momentum.lerp_(gradient, 1.0 - group["momentum"])
        direction = orthogonalized(gradient.lerp(momentum, group["momentum"]))
        rows, columns = parameter.shape
        length = group["lr"] * max(1.0, rows / columns) ** 0.5
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-length)


def orthogonalized(matrix: Tensor) -> Tensor:
    """``matrix`` with its singular values brought near 1 (between about 0.7 and 1.2)."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + _SMALLEST_NORM)
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        polynomial = torch.addmm(gram, gram, gram, beta=_CUBIC, alpha=_QUINTIC)
        wide = torch.addmm(wide, polynomial, wide, beta=_LINEAR)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T

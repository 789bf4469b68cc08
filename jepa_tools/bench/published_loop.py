"""The published way to score candidates, written plainly: what ``bench plan`` compares with.

Every step runs the predictor over all frames so far, for every candidate, in float32; poses are integrated on the CPU.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_planner.solvers.base import Array
from jepa_tools.bench.problems import PlanningProblem
from jepa_world_model.action_predictor import ActionConditionedPredictor, block_causal_mask
from jepa_world_model.layers import Block, RotaryAttention
from jepa_world_model.poses import integrate
from jepa_world_model.rollout import context_actions
from jepa_world_model.rope import axis_dim, grid_positions

_BASE = 10000.0


class PublishedCost:
    """Energies of candidates by re-running everything at every step."""

    def __init__(self, predictor: ActionConditionedPredictor, problem: PlanningProblem, device: torch.device) -> None:
        # The modulated predictor was never published; it runs as this package trains it.
        plain = predictor.config.conditioning == "tokens"
        self._predictor = PublishedPredictor(predictor) if plain else predictor
        self._problem, self._device = problem, device

    @torch.no_grad()
    def __call__(self, actions: Array) -> Array:
        """Energies ``[samples]`` of ``actions`` ``[samples, horizon, 7]``."""
        samples = actions.shape[0]
        latents = self._tensor(self._problem.context).repeat(samples, 1, 1, 1)
        states = self._tensor(self._problem.states).repeat(samples, 1, 1)
        past = context_actions(self._tensor(self._problem.states)).repeat(samples, 1, 1)
        for step in range(actions.shape[1]):
            past = torch.cat([past, self._tensor(actions[:, step : step + 1])], dim=1)
            predicted = self._predictor(latents.flatten(1, 2), past, states).unflatten(1, (past.shape[1], -1))
            latents = torch.cat([latents, predicted[:, -1:]], dim=1)
            poses = integrate(states[:, -1].cpu().numpy(), actions[:, step])
            states = torch.cat([states, self._tensor(poses)[:, None]], dim=1)
        energies = (latents[:, -1] - self._tensor(self._problem.goal)).abs().mean(dim=(1, 2))
        return energies.cpu().numpy()

    def _tensor(self, values: Tensor | np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self._device)


class PublishedPredictor:
    """The action-conditioned predictor in the order of operations of the published one, on this package's weights.

    As there, each block computes its angles anew, rotates each axis of a head on its own, projects and rotates action
    and state tokens apart from the patches, and gives the attention a mask even where everything may be seen.
    """

    def __init__(self, network: ActionConditionedPredictor) -> None:
        self._network, self._config = network, network.config

    def __call__(self, latents: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """As :meth:`ActionConditionedPredictor.forward`."""
        network, steps = self._network, actions.shape[1]
        frames = latents.unflatten(1, (steps, -1))
        x = network.embed_step(frames, actions, states).flatten(1, 2)
        mask = block_causal_mask(steps, self._config.tokens_per_step, x.device)
        for block in network.predictor_blocks:
            if isinstance(block, Block):
                x = x + self._attend(block.attn, block.norm1(x), mask, steps)
                x = x + block.mlp(block.norm2(x))
        return network.read_out(x.unflatten(1, (steps, -1)), frames).flatten(1, 2)

    def _attend(self, attention: RotaryAttention, x: Tensor, mask: Tensor, steps: int) -> Tensor:
        tokens, conditions = x.unflatten(1, (steps, -1)), self._config.condition_tokens
        times = torch.arange(steps, device=x.device)[:, None]
        groups = [_projected(attention, tokens[:, :, index], times) for index in range(conditions)]
        side = self._config.grid_size
        places = grid_positions(steps, side, side, x.device)
        groups.append(_projected(attention, tokens[:, :, conditions:].flatten(1, 2), places))
        query, key, value = (
            torch.cat([part.unflatten(2, (steps, -1)) for part in parts], dim=3).flatten(2, 3)
            for parts in zip(*groups, strict=True)
        )
        return attention.merge(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))


def _projected(attention: RotaryAttention, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys, rotated by ``positions`` ``[N, axes]``, and values, each ``[B, heads, N, head_dim]``."""
    qkv = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1))
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    return _rotated(query, positions), _rotated(key, positions), value


def _rotated(x: Tensor, positions: Tensor) -> Tensor:
    """Every axis turns features of its own, and what is left stays as it is."""
    size, axes = axis_dim(x.shape[-1]), positions.shape[1]
    turned = [_turned(x[..., axis * size : (axis + 1) * size], positions[:, axis]) for axis in range(axes)]
    return torch.cat([*turned, x[..., axes * size :]], dim=-1)


def _turned(x: Tensor, positions: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    frequencies = _BASE ** -(torch.arange(half, device=x.device) / half)
    angles = (positions[:, None] * frequencies).repeat(1, 2)
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * angles.cos() + torch.stack([-second, first], dim=-1).flatten(-2) * angles.sin()

"""Predictor blocks rearranged for inference: the same function as ``layers.py``, with fewer passes over memory.

The rows of the query and key projections are reordered so that the two features of a rotary pair lie half a head
apart: a rotation is then three contiguous multiplications instead of a gather. Dot products of queries and keys do not
notice, since both are reordered alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_world_model.layers import NORM_EPS, Block, ModulatedBlock
from jepa_world_model.rope import RotaryTable


@dataclass(frozen=True)
class HalvedTable:
    """Rotary factors with the pairs' first features before their second ones: ``[tokens, 1, 1, 2, head_dim / 2]``."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, table: RotaryTable) -> HalvedTable:
        """Reorder a table ``[tokens, head_dim]``."""
        halves = (factors.unflatten(-1, (-1, 2)).transpose(-1, -2).contiguous() for factors in (table.cos, table.sin))
        cos, sin = (half[:, None, None] for half in halves)
        return cls(cos, sin)

    def slice(self, start: int, stop: int) -> HalvedTable:
        """Factors of the tokens from ``start`` up to ``stop``."""
        return HalvedTable(self.cos[start:stop], self.sin[start:stop])

    def rotate(self, x: Tensor) -> Tensor:
        """Rotate ``[B, tokens, 2, heads, 2, head_dim / 2]`` (queries and keys, their features in halves)."""
        turned = x * self.cos
        turned[..., 0, :].addcmul_(x[..., 1, :], self.sin[..., 0, :])
        turned[..., 1, :].addcmul_(x[..., 0, :], self.sin[..., 1, :])
        return turned


@dataclass(frozen=True)
class Projection:
    """Rotated queries, rotated keys, and values, each ``[B, heads, tokens, head_dim]``."""

    query: Tensor
    key: Tensor
    value: Tensor


@dataclass(frozen=True)
class Modulation:
    """Shift, scale and gate ``[B, 1, D]`` of a block's attention and of its MLP (adaptive layer norm)."""

    shift: Tensor
    scale: Tensor
    gate: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class InferenceBlock:
    """A block without gradients whose attention is left to the caller: :meth:`project`, attend, :meth:`finish`."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._heads = block.attn.num_heads
        order = _halves_first(block.attn.qkv.in_features, self._heads).to(block.attn.qkv.weight.device)
        self._weight = block.attn.qkv.weight[order].contiguous()
        self._bias = block.attn.qkv.bias[order].contiguous()

    def modulation(self, condition: Tensor) -> Modulation | None:
        """Factors for a condition ``[B, 1, D]``; None when the block takes none."""
        if not isinstance(self._block, ModulatedBlock):
            return None
        return Modulation(*self._block.modulate(condition))

    def project(self, x: Tensor, table: HalvedTable, modulation: Modulation | None = None) -> Projection:
        """Norm and project tokens ``[B, N, D]``."""
        normed = F.layer_norm(x, x.shape[-1:], self._block.norm1.weight, self._block.norm1.bias, NORM_EPS)
        if modulation is not None:
            normed = torch.addcmul(modulation.shift, normed, modulation.scale)
        qkv = F.linear(normed, self._weight, self._bias).unflatten(-1, (3, self._heads, 2, -1))
        query, key = table.rotate(qkv[:, :, :2]).flatten(-2).permute(2, 0, 3, 1, 4)
        return Projection(query, key, qkv[:, :, 2].flatten(-2).transpose(1, 2))

    def finish(self, x: Tensor, attended: Tensor, modulation: Modulation | None = None) -> Tensor:
        """Tokens after the block, from those before it ``[B, N, D]`` and the attention's ``[B, N, D]``."""
        block, update = self._block, self._block.attn.proj(attended)
        x = update.add_(x) if modulation is None else torch.addcmul(x, update, modulation.gate)
        normed = F.layer_norm(x, x.shape[-1:], block.norm2.weight, block.norm2.bias, NORM_EPS)
        if modulation is None:
            return x.add_(block.mlp(normed))
        update = block.mlp(torch.addcmul(modulation.shift_mlp, normed, modulation.scale_mlp))
        return x.addcmul_(update, modulation.gate_mlp)


def _halves_first(dim: int, heads: int) -> Tensor:
    """Row order of a fused projection: queries and keys by halves of pairs, values as they are."""
    rows = torch.arange(3 * dim).unflatten(0, (3, heads, -1, 2))
    turned = rows[:2].transpose(-1, -2).flatten()
    return torch.cat([turned, rows[2].flatten()])

"""The pre-norm transformer block that encoders and predictors share, with the official parameter names."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from jepa_world_model.rope import RotaryTable

LAYER_NORM_EPSILON = 1e-6


class RotaryAttention(nn.Module):
    """Multi-head self-attention over ``[B, N, dim]`` with rotated queries and keys.

    timm's attention takes no per-call rotary table, hence this one; its parameters are ``qkv`` and ``proj``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"the width must be a multiple of the heads, not {dim} and {heads}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each ``[B, heads, N, head_dim]``."""
        queries, keys, values = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return queries, keys, values

    def merge(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Attend and project: ``[B, N, dim]``; ``mask`` is True where a query may look."""
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self.proj(attended.transpose(1, 2).flatten(2))

    def forward(self, tokens: Tensor, table: RotaryTable, mask: Tensor | None = None) -> Tensor:
        """Self-attention of ``tokens`` ``[B, N, dim]``."""
        queries, keys, values = self.split(tokens)
        return self.merge(table.rotate(queries), table.rotate(keys), values, mask)


class Block(nn.Module):
    """Attention and MLP with exact GELU, each behind a LayerNorm and on a residual path."""

    def __init__(self, dim: int, heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.attn = RotaryAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.mlp = Mlp(dim, hidden_dim)

    def forward(self, tokens: Tensor, table: RotaryTable, mask: Tensor | None = None) -> Tensor:
        """``[B, N, dim]`` to ``[B, N, dim]``."""
        tokens = tokens + self.attn(self.norm1(tokens), table, mask)
        return tokens + self.mlp(self.norm2(tokens))


def initialize(module: nn.Module, blocks: Iterable[Block]) -> None:
    """V-JEPA's initialisation: truncated normals, residual projections shrunk with depth."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv3d)):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    with torch.no_grad():
        for index, block in enumerate(blocks, start=1):
            block.attn.proj.weight.div_(math.sqrt(2.0 * index))
            block.mlp.fc2.weight.div_(math.sqrt(2.0 * index))

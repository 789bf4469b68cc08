"""The transformer block that the encoders and predictors share, with the official parameter names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_world_model.rope import RotaryTable

NORM_EPS = 1e-6


@dataclass(frozen=True)
class BlockShape:
    """Size of a transformer block: width, attention heads, hidden width of the MLP."""

    dim: int
    num_heads: int
    mlp_dim: int

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise ValueError(f"width {self.dim} does not split into {self.num_heads} heads; choose a divisor of it")
        if (self.dim // self.num_heads) % 2:
            raise ValueError(f"heads of size {self.dim // self.num_heads} are odd; rotary embedding turns pairs")

    @property
    def head_dim(self) -> int:
        """Features per attention head."""
        return self.dim // self.num_heads


class Mlp(nn.Module):
    """The two layers behind each attention: dim, hidden, dim, with an exact GELU between them.

    The function of timm's ``Mlp``, whose import loads every model of timm and takes twice as long as torch's: nodes
    would start that much later. timm's attention blocks know no three-dimensional rotary embedding.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``[..., dim]`` to ``[..., dim]``."""
        return self.fc2(self.act(self.fc1(tokens)))


def plain_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention ``[B, heads, N, head_dim]`` by two matrix products."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    return scores.softmax(dim=-1).to(value.dtype) @ value


class RotaryAttention(nn.Module):
    """Multi-head self-attention with rotated queries and keys."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim)
        self.proj = nn.Linear(shape.dim, shape.dim)

    def forward(self, x: Tensor, rotary: RotaryTable, mask: Tensor | None = None) -> Tensor:
        """Attend over tokens ``[B, N, D]``; ``mask`` ``[N, N]`` is true where a row may look at a column."""
        query, key, value = self.project(x, rotary)
        # On a CPU the gradient of the fused kernel takes several times as long as that of plain products.
        attend = plain_attention if x.requires_grad and x.device.type == "cpu" else F.scaled_dot_product_attention
        return self.merge(attend(query, key, value, attn_mask=mask))

    def project(self, x: Tensor, rotary: RotaryTable) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries, rotated keys, and values, each ``[B, heads, N, head_dim]``."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return rotary.rotate(query), rotary.rotate(key), value

    def merge(self, heads: Tensor) -> Tensor:
        """Output projection of ``[B, heads, N, head_dim]``: ``[B, N, D]``."""
        return self.proj(heads.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.dim, eps=NORM_EPS)
        self.attn = RotaryAttention(shape)
        self.norm2 = nn.LayerNorm(shape.dim, eps=NORM_EPS)
        self.mlp = Mlp(shape.dim, shape.mlp_dim)

    def forward(self, x: Tensor, rotary: RotaryTable, mask: Tensor | None = None) -> Tensor:
        """Transform tokens ``[B, N, D]``."""
        x = x + self.attn(self.norm1(x), rotary, mask)
        return x + self.mlp(self.norm2(x))


class ModulatedBlock(Block):
    """Pre-norm block whose norms are shifted, scaled and gated by a condition (adaptive layer norm, zero at start)."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__(shape)
        self.modulation = nn.Linear(shape.dim, 6 * shape.dim)

    def forward(
        self, x: Tensor, rotary: RotaryTable, mask: Tensor | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """Transform tokens ``[B, N, D]`` under ``condition`` ``[B, T, D]`` of T steps of equally many tokens each."""
        if condition is None:
            raise ValueError("a modulated block needs its condition; got None")
        tokens_per_step = x.shape[1] // condition.shape[1]
        modulation = (part.repeat_interleave(tokens_per_step, dim=1) for part in self.modulate(condition))
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulation
        x = x + gate * self.attn(torch.addcmul(shift, self.norm1(x), scale), rotary, mask)
        return x + gate_mlp * self.mlp(torch.addcmul(shift_mlp, self.norm2(x), scale_mlp))

    def modulate(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Shift, scale and gate of the attention, then of the MLP, each with the shape of ``condition``."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.modulation(F.silu(condition)).chunk(6, dim=-1)
        return shift, 1 + scale, gate, shift_mlp, 1 + scale_mlp, gate_mlp


def initialize(module: nn.Module, std: float = 0.02) -> None:
    """Truncated normal weights and zero biases for the linear, convolution and norm layers below ``module``."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.trunc_normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in module.modules():
        if isinstance(layer, ModulatedBlock):
            nn.init.zeros_(layer.modulation.weight)


def rescale_residuals(blocks: Iterable[nn.Module]) -> None:
    """Divide the weights that write into the residual stream by ``sqrt(2 * depth)``, as the official models start."""
    with torch.no_grad():
        for depth, block in enumerate(blocks, start=1):
            if isinstance(block, Block):
                block.attn.proj.weight.div_(math.sqrt(2.0 * depth))
                block.mlp.fc2.weight.div_(math.sqrt(2.0 * depth))

"""Predictor blocks rearranged for inference: the same function as ``layers.py``, with fewer passes over memory.

* The rows of the query and key projections are reordered so that the two features of a rotary pair lie half a head
  apart: a rotation is then three contiguous multiplications instead of a gather. Dot products of queries and keys do
  not notice, since both are reordered alike.
* Biases of queries and keys are rotated once, with the tables. Weights of an attention sum to one, so the bias of the
  values moves behind it, into the output projection's.
* Large intermediates live in buffers that are used again: fresh memory costs a page fault every four kilobytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_world_model.layers import NORM_EPS, Block, ModulatedBlock
from jepa_world_model.rope import RotaryTable

# Below this many tokens two batched products beat the fused attention of PyTorch's CPU backend.
_FEW_TOKENS = 64


class Workspace:
    """Buffers by name, which later calls overwrite."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor of ``like``'s dtype and device."""
        count, buffer = math.prod(shape), self._buffers.get(name)
        if buffer is None or buffer.numel() < count or buffer.dtype != like.dtype:
            buffer = self._buffers[name] = like.new_empty(count)
        return buffer[:count].view(shape)


@dataclass(frozen=True)
class BlockTable:
    """Rotary factors for one block and one step, features in halves: ``[tokens, 2, heads, 2, head_dim / 2]``.

    Attributes:
        offset: rotated biases of queries and keys.
        cos: factors of a feature itself. The queries' hold the attention's scale, too.
        sin: signed factors of the pair's other feature.
    """

    offset: Tensor
    cos: Tensor
    sin: Tensor

    def slice(self, start: int, stop: int) -> BlockTable:
        """Factors of the tokens from ``start`` up to ``stop``."""
        return BlockTable(self.offset[start:stop], self.cos[start:stop], self.sin[start:stop])

    def rotate(self, x: Tensor, out: Tensor) -> None:
        """Rotate queries and keys ``[B, tokens, 2, heads, 2, head_dim / 2]`` into ``out`` of the same shape."""
        torch.addcmul(self.offset, x, self.cos, out=out)
        out[..., 0, :].addcmul_(x[..., 1, :], self.sin[..., 0, :])
        out[..., 1, :].addcmul_(x[..., 0, :], self.sin[..., 1, :])


@dataclass(frozen=True)
class Projection:
    """Rotated and scaled queries, rotated keys, and values, each ``[B, heads, tokens, head_dim]``."""

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
    """A block without gradients, attention left to the caller: :meth:`project`, :func:`attend`, :meth:`finish`.

    The block's weights are shared with it, stored by columns from now on.
    """

    def __init__(self, block: Block) -> None:
        attention = block.attn
        self._block, self._heads = block, attention.num_heads
        self._scale = (attention.qkv.in_features // self._heads) ** -0.5
        for linear in (attention.proj, block.mlp.fc1, block.mlp.fc2):
            _store_by_columns(linear)
        order = _halves_first(attention.qkv.in_features, self._heads).to(attention.qkv.weight.device)
        self._weight = attention.qkv.weight[order].t().contiguous()
        query_key, value = attention.qkv.bias[order].tensor_split([2 * attention.qkv.in_features])
        self._bias = query_key
        self._output_bias = attention.proj.bias + attention.proj.weight @ value

    def table(self, rotary: RotaryTable) -> BlockTable:
        """Factors for this block from those of a step's tokens ``[tokens, head_dim]``."""
        scale = rotary.cos.new_tensor([self._scale, 1.0])[:, None, None, None]
        halves = (factors.unflatten(-1, (-1, 2)).transpose(-1, -2) for factors in (rotary.cos, rotary.sin))
        cos, sin = (half[:, None, None].expand(-1, 2, self._heads, -1, -1) * scale for half in halves)
        bias = self._bias.view(cos.shape[1:])
        return BlockTable(bias * cos + bias.flip(-2) * sin, cos, sin)

    def modulation(self, condition: Tensor) -> Modulation | None:
        """Factors for a condition ``[B, 1, D]``; None when the block takes none."""
        if not isinstance(self._block, ModulatedBlock):
            return None
        return Modulation(*self._block.modulate(condition))

    def project(
        self, x: Tensor, table: BlockTable, space: Workspace, modulation: Modulation | None = None
    ) -> Projection:
        """Norm and project tokens ``[B, N, D]``. The result lives in ``space``."""
        batch, tokens, dim = x.shape
        norm = self._block.norm1
        normed = F.layer_norm(x, (dim,), norm.weight, norm.bias, NORM_EPS)
        if modulation is not None:
            normed = torch.addcmul(modulation.shift, normed, modulation.scale)
        qkv = space.take("qkv", (batch * tokens, 3 * dim), x)
        torch.mm(normed.view(-1, dim), self._weight, out=qkv)
        split = qkv.view(batch, tokens, 3, self._heads, 2, -1)
        # Head after head, which is how the attention reads them.
        turned = space.take("turned", (2, batch, self._heads, tokens, 2, split.shape[-1]), x)
        table.rotate(split[:, :, :2], turned.permute(1, 3, 0, 2, 4, 5))
        query, key = turned.flatten(-2)
        return Projection(query, key, split[:, :, 2].flatten(-2).transpose(1, 2))

    def finish(self, x: Tensor, attended: Tensor, space: Workspace, modulation: Modulation | None = None) -> Tensor:
        """Tokens after the block, from those before it (overwritten) and the attention's, all ``[B, N, D]``."""
        if modulation is not None:
            return self._finish_modulated(x, attended, modulation)
        block, flat = self._block, x.view(-1, x.shape[-1])
        flat.addmm_(attended.reshape(flat.shape), block.attn.proj.weight.t()).add_(self._output_bias)
        normed = F.layer_norm(flat, flat.shape[-1:], block.norm2.weight, block.norm2.bias, NORM_EPS)
        hidden = space.take("hidden", (flat.shape[0], block.mlp.fc1.out_features), x)
        torch.mm(normed, block.mlp.fc1.weight.t(), out=hidden)
        torch.ops.aten.gelu_(hidden.add_(block.mlp.fc1.bias))
        flat.addmm_(hidden, block.mlp.fc2.weight.t()).add_(block.mlp.fc2.bias)
        return x

    def _finish_modulated(self, x: Tensor, attended: Tensor, modulation: Modulation) -> Tensor:
        block = self._block
        update = F.linear(attended, block.attn.proj.weight, self._output_bias)
        x = torch.addcmul(x, update, modulation.gate)
        normed = F.layer_norm(x, x.shape[-1:], block.norm2.weight, block.norm2.bias, NORM_EPS)
        update = block.mlp(torch.addcmul(modulation.shift_mlp, normed, modulation.scale_mlp))
        return x.addcmul_(update, modulation.gate_mlp)


def attend(query: Tensor, keys: Tensor, values: Tensor, space: Workspace) -> Tensor:
    """Attention ``[B, N, heads * head_dim]`` of scaled queries ``[B, heads, N, head_dim]``."""
    batch, heads, tokens, _ = query.shape
    if query.device.type != "cpu" or keys.shape[2] > _FEW_TOKENS:
        attended = F.scaled_dot_product_attention(query, keys, values, scale=1.0)
        return attended.transpose(1, 2).flatten(2)
    query, keys, values = (part.flatten(0, 1) for part in (query, keys, values))
    weights = space.take("weights", (*query.shape[:2], keys.shape[1]), query)
    torch.bmm(query, keys.transpose(1, 2), out=weights)
    total = _exponentiate(weights)
    attended = torch.bmm(weights, values)
    result = space.take("attended", (batch, tokens, heads, values.shape[-1]), query)
    by_heads = (batch, heads)
    torch.div(attended.unflatten(0, by_heads), total.unflatten(0, by_heads), out=result.transpose(1, 2))
    return result.flatten(2)


def _exponentiate(scores: Tensor) -> Tensor:
    """Exponentials of ``scores`` ``[..., n, m]`` in place, up to a factor per row, and their sums ``[..., n, 1]``.

    A softmax subtracts each row's largest score first, and over short rows this is half of its time. Where no
    exponential can overflow or vanish, which one look at all scores tells, it is left out.
    """
    least, most = torch.aminmax(scores)
    safe = 0.5 * math.log(torch.finfo(scores.dtype).max)
    if not -safe < float(least) <= float(most) < safe:
        scores.sub_(scores.amax(-1, keepdim=True))
    return scores.exp_().sum(-1, keepdim=True)


def _store_by_columns(linear: nn.Linear) -> None:
    """Keep a weight's values but store them column by column: CPU products with few outputs run a quarter faster."""
    linear.weight.data = linear.weight.data.t().contiguous().t()


def _halves_first(dim: int, heads: int) -> Tensor:
    """Row order of a fused projection: queries and keys by halves of pairs, values as they are."""
    rows = torch.arange(3 * dim).unflatten(0, (3, heads, -1, 2))
    turned = rows[:2].transpose(-1, -2).flatten()
    return torch.cat([turned, rows[2].flatten()])

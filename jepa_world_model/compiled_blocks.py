"""Predictor blocks as pure functions of tensors, for ``torch.compile``.

:mod:`jepa_world_model.inference_blocks` writes into buffers that are used again, which suits a CPU. A compiler fuses
what lies between the matrix products when it sees pure functions, and the mode "reduce-overhead" records them as CUDA
graphs. Weights are arguments, so that all blocks of a network share one compiled function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_world_model.inference_blocks import BlockTable, InferenceBlock, Modulation, Projection, Workspace
from jepa_world_model.layers import NORM_EPS, Block

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]
"""How ``torch.compile`` works: fusion alone, CUDA graphs as well, or also a search for the fastest kernels."""


class _Affine(NamedTuple):
    """Weight and bias of a norm, or of a linear layer."""

    weight: Tensor
    bias: Tensor


class _Mlp(NamedTuple):
    """What follows the attention in a block."""

    projection: _Affine
    norm: _Affine
    first: _Affine
    second: _Affine


class CompiledBlock(InferenceBlock):
    """An :class:`InferenceBlock` whose two halves are compiled when they are first called, which takes a while."""

    def __init__(self, block: Block, mode: CompileMode) -> None:
        super().__init__(block)
        norms = (_Affine(norm.weight, norm.bias) for norm in (block.norm1, block.norm2))
        first, second = (_Affine(linear.weight, linear.bias) for linear in (block.mlp.fc1, block.mlp.fc2))
        self._norm, norm = norms
        self._after = _Mlp(_Affine(block.attn.proj.weight, self._output_bias), norm, first, second)
        self._project, self._finish = compile_once(_projected, mode), compile_once(_finished, mode)

    def project(
        self,
        x: Tensor,
        table: BlockTable,
        space: Workspace,  # noqa: ARG002 - the compiler plans its own memory
        modulation: Modulation | None = None,
    ) -> Projection:
        """As :meth:`InferenceBlock.project`, into new tensors."""
        shift, scale = (None, None) if modulation is None else (modulation.shift, modulation.scale)
        return Projection(*self._project(x, self._norm, self._weight, table.offset, table.cos, table.sin, shift, scale))

    def finish(
        self,
        x: Tensor,
        attended: Tensor,
        space: Workspace,  # noqa: ARG002 - the compiler plans its own memory
        modulation: Modulation | None = None,
    ) -> Tensor:
        """As :meth:`InferenceBlock.finish`, leaving ``x`` as it is."""
        factors = None
        if modulation is not None:
            factors = (modulation.gate, modulation.shift_mlp, modulation.scale_mlp, modulation.gate_mlp)
        result: Tensor = self._finish(x, attended, self._after, factors)
        return result


def begin_compiled_step(mode: CompileMode | None) -> None:
    """Say that results of earlier compiled calls are no longer in use, so that CUDA graphs may overwrite them."""
    # Without compilation the compiler is not even imported, which takes a second.
    if mode is not None:
        torch.compiler.cudagraph_mark_step_begin()


@functools.cache
def compile_once(function: Callable[..., Any], mode: CompileMode) -> Callable[..., Any]:
    """``function`` compiled, the same for all who ask, so that its compiled code is shared."""
    return torch.compile(function, mode=mode)


def _projected(
    x: Tensor,
    norm: _Affine,
    weight: Tensor,
    offset: Tensor,
    cos: Tensor,
    sin: Tensor,
    shift: Tensor | None,
    scale: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    normed = F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, NORM_EPS)
    if shift is not None and scale is not None:
        normed = shift + normed * scale
    qkv = (normed @ weight).unflatten(-1, (3, *cos.shape[-3:]))
    pairs = qkv[:, :, :2]
    turned = (offset + pairs * cos + pairs.flip(-2) * sin).flatten(-2).permute(2, 0, 3, 1, 4)
    return turned[0], turned[1], qkv[:, :, 2].flatten(-2).transpose(1, 2)


def _finished(
    x: Tensor, attended: Tensor, after: _Mlp, factors: tuple[Tensor, Tensor, Tensor, Tensor] | None
) -> Tensor:
    update = F.linear(attended, *after.projection)
    if factors is None:
        x = x + update
        normed = F.layer_norm(x, x.shape[-1:], after.norm.weight, after.norm.bias, NORM_EPS)
        return x + F.linear(F.gelu(F.linear(normed, *after.first)), *after.second)
    gate, shift, scale, gate_mlp = factors
    x = x + update * gate
    normed = F.layer_norm(x, x.shape[-1:], after.norm.weight, after.norm.bias, NORM_EPS)
    hidden = F.gelu(F.linear(shift + normed * scale, *after.first))
    return x + gate_mlp * F.linear(hidden, *after.second)

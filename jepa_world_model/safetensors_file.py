"""Writing safetensors files a tensor at a time, so that a model of any size passes through little memory.

The format is described in :mod:`jepa_world_model.safetensors_header`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jepa_common.whole_files import whole_file
from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.safetensors_header import LENGTH_BYTES

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64, "I64": torch.int64}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class TensorSlot:
    """A tensor that will be written: its shape, its type, and a function that produces it when its turn comes."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor) -> TensorSlot:
        """A slot for a tensor that is already in memory."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def write_tensors(path: Path, slots: Mapping[str, TensorSlot], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file; it appears under its name only when it is complete.

    Raises:
        CheckpointError: a dtype that the format has no name for here.
    """
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(_header(slots, metadata))
        for slot in slots.values():
            file.write(raw_bytes(slot.read().to(slot.dtype)))


def _header(slots: Mapping[str, TensorSlot], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    start = 0
    for name, slot in slots.items():
        if slot.dtype not in _NAMES:
            raise CheckpointError(f"{name} is {slot.dtype}; only {', '.join(map(str, _NAMES))} can be stored")
        stop = start + torch.Size(slot.shape).numel() * slot.dtype.itemsize
        entries[name] = {"dtype": _NAMES[slot.dtype], "shape": list(slot.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def raw_bytes(tensor: Tensor) -> memoryview:
    """A tensor's bytes as they lie in a file."""
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data

"""Writes and copies safetensors files a tensor at a time, so that a model of any size passes through little memory.

The format is described in :mod:`jepa_world_model.safetensors_header`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from jepa_common.whole_files import whole_file
from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.safetensors_header import LENGTH_BYTES, read_header

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
            file.write(_raw_bytes(slot.read().to(slot.dtype)))


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


def _raw_bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data


def stored_slots(path: Path) -> dict[str, TensorSlot]:
    """The tensors of a file in the order of their bytes, each read when its turn comes.

    Raises:
        CheckpointError: not a safetensors file, one that ends too early, or types that cannot be stored here.
    """
    header = read_header(path)
    header.pop("__metadata__", None)
    names = sorted(header, key=lambda name: header[name]["data_offsets"])
    foreign = sorted({header[name]["dtype"] for name in names} - set(_DTYPES))
    if foreign:
        raise CheckpointError(f"{path} holds tensors of type {', '.join(foreign)}; expected {', '.join(_DTYPES)}")
    return {
        name: TensorSlot(tuple(header[name]["shape"]), _DTYPES[header[name]["dtype"]], partial(_read_one, path, name))
        for name in names
    }


def _read_one(path: Path, name: str) -> Tensor:
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)

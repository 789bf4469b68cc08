"""Reading and writing safetensors files a tensor at a time, so that a model of any size passes through little memory.

The format: eight bytes with the length of a JSON header, the header (name -> dtype, shape, byte range; and
``__metadata__``, strings only), then the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from jepa_common.text_files import describe_text_file
from jepa_world_model.checkpoint_errors import CheckpointError

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LENGTH_BYTES = 8
_LARGEST_HEADER = 100_000_000
_CHUNK = 1 << 22


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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    try:
        with temporary.open("wb") as file:
            file.write(_header(slots, metadata))
            for slot in slots.values():
                file.write(_raw_bytes(slot.read().to(slot.dtype)))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def _raw_bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data


def read_metadata(path: Path) -> dict[str, str]:
    """The strings in the header of a safetensors file.

    Raises:
        CheckpointError: not a safetensors file, or one that ends too early.
    """
    header = _read_header(path)
    return dict(header.get("__metadata__", {}))


def refuse_text(path: Path) -> None:
    """Raises CheckpointError for a text file, such as a Git LFS pointer or a web page, and says what it is."""
    if instead := describe_text_file(path):
        raise CheckpointError(f"{path}: expected weights, but it is {instead}")


def _read_header(path: Path) -> dict[str, Any]:
    refuse_text(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > min(size, _LARGEST_HEADER):
            raise CheckpointError(f"{path} is not a whole safetensors file ({size} bytes); copy or convert it again")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise CheckpointError(f"{path} is not a safetensors file: its header is no JSON ({error})") from error
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    expected = _LENGTH_BYTES + length + max(ends, default=0)
    if size != expected:
        raise CheckpointError(f"{path} has {size} bytes where its header promises {expected}; copy it again")
    return header


def stored_slots(path: Path) -> dict[str, TensorSlot]:
    """The tensors of a file in the order of their bytes, each read when its turn comes.

    Raises:
        CheckpointError: not a safetensors file, one that ends too early, or types that cannot be stored here.
    """
    header = _read_header(path)
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


def digests(path: Path, apart: str = "") -> tuple[str, str]:
    """SHA-256 of the whole file, and of the tensors alone (what follows the header), in hex.

    Args:
        path: of the file.
        apart: tensors whose names begin with this, at the file's end, do not count among the tensors.

    Raises:
        CheckpointError: not a safetensors file, or tensors that are to stand apart are not at its end.
    """
    left = _bytes_before(path, apart)
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        head = file.read(_LENGTH_BYTES)
        head += file.read(int.from_bytes(head, "little"))
        whole.update(head)
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
            tensors.update(chunk[: max(0, left)])
            left -= len(chunk)
    return whole.hexdigest(), tensors.hexdigest()


def _bytes_before(path: Path, apart: str) -> int:
    """Bytes of tensors before the first whose name begins with ``apart``; all of them where there is none."""
    entries = {name: entry for name, entry in _read_header(path).items() if name != "__metadata__"}
    others = [entry["data_offsets"][1] for name, entry in entries.items() if not apart or not name.startswith(apart)]
    parted = [entry["data_offsets"][0] for name, entry in entries.items() if apart and name.startswith(apart)]
    end = max(others, default=0)
    if parted and min(parted) < end:
        raise CheckpointError(f"{path}: expected the tensors {apart}* at its end; write it again with this package")
    return end

"""What stands in a safetensors file beside its tensors, read without torch.

The format: eight bytes with the length of a JSON header, the header (name -> dtype, shape, byte range; and
``__metadata__``, strings only), then the tensors' bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from jepa_common.text_files import describe_text_file
from jepa_world_model.checkpoint_errors import CheckpointError

LENGTH_BYTES = 8
_LARGEST_HEADER = 100_000_000
_CHUNK = 1 << 22


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
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > min(size, _LARGEST_HEADER):
            raise CheckpointError(f"{path} is not a whole safetensors file ({size} bytes); copy or convert it again")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise CheckpointError(f"{path} is not a safetensors file: its header is no JSON ({error})") from error
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    expected = LENGTH_BYTES + length + max(ends, default=0)
    if size != expected:
        raise CheckpointError(f"{path} has {size} bytes where its header promises {expected}; copy it again")
    return header


def digests(path: Path) -> tuple[str, str]:
    """SHA-256 of the whole file and of the tensors alone (what follows the header), in hex."""
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        head = file.read(LENGTH_BYTES)
        head += file.read(int.from_bytes(head, "little"))
        whole.update(head)
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
            tensors.update(chunk)
    return whole.hexdigest(), tensors.hexdigest()

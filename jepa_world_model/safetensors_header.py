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
    header = read_header(path)
    return dict(header.get("__metadata__", {}))


def refuse_text(path: Path) -> None:
    """Raises CheckpointError for a text file, such as a Git LFS pointer or a web page, and says what it is."""
    if instead := describe_text_file(path):
        raise CheckpointError(f"{path}: expected weights, but it is {instead}")


def read_header(path: Path) -> dict[str, Any]:
    """The header as it stands in the file: entries by tensor, and ``__metadata__``.

    Raises:
        CheckpointError: not a safetensors file, or one that ends too early.
    """
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
        head = file.read(LENGTH_BYTES)
        head += file.read(int.from_bytes(head, "little"))
        whole.update(head)
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
            tensors.update(chunk[: max(0, left)])
            left -= len(chunk)
    return whole.hexdigest(), tensors.hexdigest()


def _bytes_before(path: Path, apart: str) -> int:
    """Bytes of tensors before the first whose name begins with ``apart``; all of them where there is none."""
    entries = {name: entry for name, entry in read_header(path).items() if name != "__metadata__"}
    others = [entry["data_offsets"][1] for name, entry in entries.items() if not apart or not name.startswith(apart)]
    parted = [entry["data_offsets"][0] for name, entry in entries.items() if apart and name.startswith(apart)]
    end = max(others, default=0)
    if parted and min(parted) < end:
        raise CheckpointError(f"{path}: expected the tensors {apart}* at its end; write it again with this package")
    return end

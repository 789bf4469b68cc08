"""The layouts in which V-JEPA 2 weights are released: official ``.pt`` files and Hugging Face folders.

Nothing is executed while reading (``weights_only=True``), and tensors are mapped, not loaded: a file much
larger than the memory can be converted.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.hugging_face import read_hugging_face
from jepa_world_model.parameter_names import unwrapped, unwrapped_names
from jepa_world_model.safetensors_file import TensorSlot
from jepa_world_model.safetensors_header import refuse_text

ENCODER_KEYS = ("target_encoder", "ema_encoder", "encoder")
"""Where official files keep the encoder, best first: the averaged one is the one to use."""
_PREDICTOR = "predictor"
_CONTAINERS = ("model", "state_dict", "module")
"""Under these names other training scripts keep all weights together."""
_WRAPPERS = {
    "encoder": ("module", "model", "backbone", *ENCODER_KEYS),
    _PREDICTOR: ("module", "model", "backbone", _PREDICTOR),
}
"""What training puts before the names of each network's parameters."""
_PATCHES = "patch_embed.proj.weight"
"""Of an encoder of videos this tensor has five axes; of pictures, four."""
_STALE = ("pos_embed", "predictor_pos_embed")
"""Left in 2.0 files by an earlier position embedding; nothing reads them under RoPE."""


@dataclass(frozen=True)
class OfficialWeights:
    """The tensors of a released file under official names, each read when asked for.

    Attributes:
        source: the file or folder.
        parts: "encoder", and "masked_predictor" or "action_predictor" where the file has it.
        left_out: what else is in the file.
    """

    source: Path
    parts: Mapping[str, Mapping[str, TensorSlot]]
    left_out: tuple[str, ...]


def read_official(path: Path) -> OfficialWeights:
    """Open an official ``.pt`` file, a Hugging Face safetensors file or its folder.

    Raises:
        CheckpointError: missing, truncated, holding code, or of another architecture.
    """
    if not path.exists():
        raise CheckpointError(f"no file {path}")
    if path.is_dir() or path.suffix == ".safetensors":
        encoder, others = read_hugging_face(path)
        return OfficialWeights(path, {"encoder": encoder}, others)
    return _from_dictionary(path, _load(path))


def _load(path: Path) -> Any:
    refuse_text(path)
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
    if is_archive and not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} ends too early: {path.stat().st_size} bytes and no end of archive; download it again"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, and opening it could run code; it was not opened. Use a file from the "
            f"official release, or one saved from a dictionary of tensors. ({_refused_class(error)})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a PyTorch checkpoint: {_first_line(error)}; download it again"
        ) from error


def _refused_class(error: Exception) -> str:
    """What torch did not want to make, such as "argparse.Namespace"."""
    found = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
    return f"it holds {found.group(1)}" if found else _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]


def _from_dictionary(path: Path, stored: Any) -> OfficialWeights:
    groups, beside = _networks(stored)
    chosen = next((key for key in ENCODER_KEYS if isinstance(groups.get(key), Mapping)), None)
    if chosen is None:
        top = list(stored)[:6] if isinstance(stored, Mapping) else []
        raise CheckpointError(
            f"{path} is not an official V-JEPA 2 checkpoint: expected one of {', '.join(ENCODER_KEYS)} at its top, or "
            f"the encoder's tensors, alone or under {', '.join(_CONTAINERS)}, got "
            f"{', '.join(map(str, top)) or type(stored).__name__}"
        )
    second_generation = any("norms_block." in name for name in groups[chosen])
    encoder, left_out = _tensors(path, chosen, groups[chosen], strict=second_generation)
    parts = {"encoder": encoder}
    used = {chosen}
    # The pretraining predictor of 2.1 is another network, which nothing here needs.
    if isinstance(groups.get(_PREDICTOR), Mapping) and not second_generation:
        predictor, stale = _tensors(path, _PREDICTOR, groups[_PREDICTOR], strict=False)
        kind = "action_predictor" if "action_encoder.weight" in predictor else "masked_predictor"
        parts[kind] = predictor
        left_out += stale
        used.add(_PREDICTOR)
    left_out += [str(key) for key in groups if key not in used]
    return OfficialWeights(path, parts, (*left_out, *beside))


def _networks(stored: Any) -> tuple[Mapping[str, Any], list[str]]:
    """Tensors by network, and names of what stands beside them, wherever in the file the networks lie."""
    groups = stored if isinstance(stored, Mapping) else {}
    if any(isinstance(groups.get(key), Mapping) for key in ENCODER_KEYS):
        return groups, []
    container = next((key for key in _CONTAINERS if isinstance(groups.get(key), Mapping)), None)
    if container is None:
        return _sorted_by_network(groups), []
    networks, beside = _networks(groups[container])
    return networks, [*beside, *(str(key) for key in groups if key != container)]


def _sorted_by_network(tensors: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Tensors that lie together, by what their names begin with, else the encoder's; none if there is no encoder."""
    networks: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        first = unwrapped(str(name), ("module", "model")).partition(".")[0]
        networks.setdefault(first if first in (*ENCODER_KEYS, _PREDICTOR) else "encoder", {})[name] = tensor
    patches = [
        tensor
        for network, named in networks.items()
        for name, tensor in named.items()
        if network != _PREDICTOR and str(name).endswith(_PATCHES)
    ]
    is_video = bool(patches) and all(isinstance(tensor, Tensor) and tensor.ndim == 5 for tensor in patches)
    return networks if is_video else {}


def _tensors(
    path: Path, group: str, stored: Mapping[str, Any], strict: bool
) -> tuple[dict[str, TensorSlot], list[str]]:
    slots: dict[str, TensorSlot] = {}
    stale: list[str] = []
    wrappers = _WRAPPERS[_PREDICTOR if group == _PREDICTOR else "encoder"]
    for name, plain in unwrapped_names(map(str, stored), wrappers, f"{group} in {path}").items():
        tensor = stored[name]
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{group}.{name} in {path} is a {type(tensor).__name__} where a tensor belongs")
        if not strict and plain in _STALE:
            stale.append(f"{group}.{plain}")
        else:
            slots[plain] = TensorSlot.of(tensor)
    return slots, stale

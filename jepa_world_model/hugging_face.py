"""Hugging Face ``VJEPA2Model`` files (safetensors beside a ``config.json``), read under the official names."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.hugging_face_files import index_file, read_json, read_weight_map, safetensors_files
from jepa_world_model.parameter_names import unwrapped_names
from jepa_world_model.safetensors_file import TensorSlot
from jepa_world_model.safetensors_header import refuse_text
from jepa_world_model.vision_transformer import EncoderConfig

_WRAPPERS = ("module", "model", "vjepa2")
"""Training wraps modules; classification models hold the encoder under the last name."""
_NOT_THE_ENCODER = ("predictor.", "pooler.", "classifier.")
_RENAMED = (
    (re.compile(r"^embeddings\.patch_embeddings\."), "patch_embed."),
    (re.compile(r"^layernorm\."), "norm."),
    (re.compile(r"^layer\.(\d+)\.attention\."), r"blocks.\1.attn."),
    (re.compile(r"^layer\.(\d+)\."), r"blocks.\1."),
)
_QUERY = re.compile(r"\.attn\.query\.(weight|bias)$")
_HALVES = re.compile(r"\.attn\.(key|value)\.(weight|bias)$")
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


def read_hugging_face(path: Path) -> tuple[dict[str, TensorSlot], tuple[str, ...]]:
    """Encoder tensors under official names, read when asked for, and the names of what is not the encoder.

    Raises:
        CheckpointError: not safetensors, not VJEPA2Model, a part that is missing, or a split query without its key
            and value.
    """
    stored = _stored(path)
    own = unwrapped_names(stored, _WRAPPERS, str(path))
    named = {own[name]: slot for name, slot in stored.items()}
    encoder = {name.removeprefix("encoder."): slot for name, slot in named.items() if name.startswith("encoder.")}
    if "embeddings.patch_embeddings.proj.weight" not in encoder:
        raise CheckpointError(
            f"{path} holds neither a VJEPA2Model nor a world model of this package; "
            f"its first tensors are {', '.join(list(stored)[:3]) or 'none'}"
        )
    others = [name for name in named if not name.startswith("encoder.")]
    if foreign := [name for name in others if not name.startswith(_NOT_THE_ENCODER)]:
        raise CheckpointError(f"{path} has tensors that VJEPA2Model does not: {', '.join(foreign[:6])}")
    return _join_projections({_official_name(name): slot for name, slot in encoder.items()}), tuple(others)


def _stored(path: Path) -> dict[str, TensorSlot]:
    """All tensors, each from the file that the index names for it; other files and tensors do not count."""
    by_file = {file.name: _slots(file) for file in safetensors_files(path)}
    index = index_file(path)
    if index is None:
        stored: dict[str, TensorSlot] = {}
        for file, slots in by_file.items():
            if twice := sorted(stored.keys() & slots.keys()):
                raise CheckpointError(
                    f"{path}: {twice[0]} is in {file} and in an earlier part; download the model again"
                )
            stored |= slots
        return stored
    places = read_weight_map(index)
    if lacking := [name for name, file in places.items() if name not in by_file[file]]:
        first = lacking[0]
        raise CheckpointError(
            f"{index} names {first} in {places[first]}, which does not hold it ({len(lacking)} of {len(places)} are "
            "not where they should be): index and parts are of different models; download all of them again"
        )
    return {name: by_file[file][name] for name, file in places.items()}


def read_hugging_face_config(path: Path) -> EncoderConfig | None:
    """The encoder's shape from the ``config.json`` beside the weights, or None without one.

    Raises:
        CheckpointError: a ``config.json`` of another kind of model.
    """
    config_path = (path if path.is_dir() else path.parent) / "config.json"
    if not config_path.exists():
        return None
    values = read_json(config_path)
    try:
        return EncoderConfig(
            image_size=values["crop_size"],
            patch_size=values["patch_size"],
            tubelet_size=values["tubelet_size"],
            num_frames=values["frames_per_clip"],
            embed_dim=values["hidden_size"],
            depth=values["num_hidden_layers"],
            num_heads=values["num_attention_heads"],
            mlp_dim=int(values["hidden_size"] * values["mlp_ratio"]),
        )
    except KeyError as error:
        raise CheckpointError(f"{config_path} is not of a VJEPA2Model: it has no {error}") from error


def _slots(file: Path) -> dict[str, TensorSlot]:
    refuse_text(file)
    try:
        with safe_open(file, framework="pt") as opened:
            slots = {}
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                view = opened.get_slice(name)
                dtype = _DTYPES.get(view.get_dtype())
                if dtype is None:
                    raise CheckpointError(f"{name} of {file} is {view.get_dtype()}; expected {', '.join(_DTYPES)}")
                slots[name] = TensorSlot(tuple(view.get_shape()), dtype, partial(_read, file, name))
            return slots
    except SafetensorError as error:
        raise CheckpointError(f"{file} cannot be read as safetensors: {error}; download it again") from error


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        return opened.get_tensor(name)


def _official_name(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def _join_projections(slots: dict[str, TensorSlot]) -> dict[str, TensorSlot]:
    """Query, key and value become the one ``qkv`` of the official models."""
    joined = {}
    for name, slot in slots.items():
        if _HALVES.search(name):
            continue
        if not _QUERY.search(name):
            joined[name] = slot
            continue
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if missing := [part for part in parts if part not in slots]:
            raise CheckpointError(f"expected {', '.join(parts)} together, missing: {', '.join(missing)}")
        shape = (3 * slot.shape[0], *slot.shape[1:])
        joined[name.replace(".query.", ".qkv.")] = TensorSlot(
            shape, slot.dtype, partial(_concatenate, [slots[part] for part in parts])
        )
    return joined


def _concatenate(slots: list[TensorSlot]) -> Tensor:
    return torch.cat([slot.read() for slot in slots])

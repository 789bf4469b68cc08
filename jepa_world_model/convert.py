"""``jepa convert``: a released file, or an encoder of another kind, becomes a checkpoint of this package."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm
from tyro.conf import Positional

from jepa_world_model.checkpoint import save_world_model, write_world_model
from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.encoders import EncoderSource, encoder_card
from jepa_world_model.model_card import ModelCard
from jepa_world_model.official_checkpoints import (
    NetworkShapes,
    OfficialCheckpoint,
    check_keys,
    official_version,
    open_official,
)
from jepa_world_model.safetensors_file import TensorSlot

_PREFIXES = {"encoder": "encoder.", "action_predictor": "predictor."}


@dataclass(frozen=True)
class ConvertConfig:
    """Convert a released checkpoint.

    Attributes:
        source: official ``.pt``, Hugging Face safetensors file or its folder; or an encoder of another kind with its
            local weights file, ``timm:NAME@FILE``.
        target: the ``.safetensors`` to write, such as ``models/checkpoints/NAME.safetensors``.
        model: which released model it is, when the file name does not tell, such as ``vitg-384``.
        config: JSON file with the shapes, when it is no released model.
        dtype: type of the stored weights; "keep" leaves them as they are.
    """

    source: Positional[Path]
    target: Positional[Path]
    model: str = ""
    config: Path | None = None
    dtype: Literal["keep", "float32", "bfloat16", "float16"] = "keep"


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion did.

    Attributes:
        card: of the written checkpoint.
        tensors: how many tensors were written.
        left_out: what of the source is not in the target.
    """

    card: ModelCard
    tensors: int
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        left_out = ", ".join(self.left_out) or "nothing"
        return f"{self.card.model_id}: {self.tensors} tensors written, left out: {left_out}"


def convert(config: ConvertConfig) -> ConvertReport:
    """Write ``config.target``; of a released model there is one tensor at a time in memory.

    Raises:
        CheckpointError: the source cannot be read, has missing, unexpected or misshapen tensors, or values that are
            not finite; no target is left behind.
        ValueError: no released model of that name.
    """
    if config.target.suffix != ".safetensors":
        raise CheckpointError(f"expected a target that ends in .safetensors, got {config.target}")
    if (source := EncoderSource.parse(config.source)) is not None:
        return _convert_encoder(source, config)
    shapes = NetworkShapes.read(config.config) if config.config else None
    checkpoint = open_official(config.source, config.model, shapes)
    slots = _converted_slots(checkpoint, config)
    left_out = checkpoint.weights.left_out
    if "masked_predictor" in checkpoint.weights.parts:
        left_out += ("masked_predictor",)
    provenance = {
        "source": config.source.name,
        "source_sha256_12": official_version(config.source),
        "left_out": left_out,
        "dtype": config.dtype,
    }
    # A predictor that the shapes promise and the file lacks is left out of the target.
    predictor = checkpoint.shapes.action_predictor if "action_predictor" in checkpoint.weights.parts else None
    card = checkpoint.card(config.target.stem)
    card = write_world_model(config.target, slots, checkpoint.shapes.encoder, predictor, card, provenance)
    return ConvertReport(card, len(slots), left_out)


def _convert_encoder(source: EncoderSource, config: ConvertConfig) -> ConvertReport:
    encoder = source.open()
    if config.dtype != "keep":
        encoder = encoder.to(getattr(torch, config.dtype))
    provenance = {
        "source": f"{source.kind}:{source.name}@{source.weights.name}",
        "source_sha256_12": source.version,
        "dtype": config.dtype,
    }
    card = encoder_card(encoder.config, config.target.stem)
    card = save_world_model(config.target, encoder, None, card, provenance)
    return ConvertReport(card, len(encoder.state_dict()), ())


def _converted_slots(checkpoint: OfficialCheckpoint, config: ConvertConfig) -> dict[str, TensorSlot]:
    chosen: dict[str, TensorSlot] = {}
    for part, prefix in _PREFIXES.items():
        slots, module = checkpoint.weights.parts.get(part), checkpoint.shapes.network(part)
        if slots is None:
            continue
        if module is None:
            raise CheckpointError(f"{config.source} holds an {part} and --config gives no shape for it")
        check_keys(module, slots, f"{part} of {config.source}")
        # In the module's order, so that the same weights make the same file whatever layout they came in.
        chosen |= {f"{prefix}{name}": slots[name] for name in module.state_dict()}
    progress = tqdm(total=len(chosen), desc=f"convert to {config.target.name}", unit="tensor", mininterval=1.0)
    return {name: _checked(name, slot, config, progress) for name, slot in chosen.items()}


def _checked(name: str, slot: TensorSlot, config: ConvertConfig, progress: tqdm) -> TensorSlot:
    dtype = slot.dtype if config.dtype == "keep" else getattr(torch, config.dtype)
    return TensorSlot(slot.shape, dtype, partial(_read_checked, name, slot, dtype, progress))


def _read_checked(name: str, slot: TensorSlot, dtype: torch.dtype, progress: tqdm) -> Tensor:
    tensor = slot.read().to(dtype)
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"{name} holds NaN or infinity (as {dtype}); the file is damaged, download it again")
    progress.update()
    return tensor

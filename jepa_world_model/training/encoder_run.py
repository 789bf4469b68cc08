"""The encoder that a run of ``jepa pretrain`` leaves in its folder: weights and shape."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from jepa_common.whole_files import write_whole
from jepa_world_model.encoders import EncoderSource
from jepa_world_model.training.run_folder import save_tensors
from jepa_world_model.vision_transformer import EncoderConfig, Generation, VisionTransformer

WEIGHTS_FILE = "encoder.pt"
SHAPE_FILE = "encoder.json"


@dataclass(frozen=True)
class EncoderShape:
    """Size of an encoder to train; patches are 16 pixels, clips two frames, as in the official models.

    Attributes:
        dim, depth, heads: width, blocks, attention heads.
        generation: "2.0" or "2.1"; see :class:`EncoderConfig`.
    """

    dim: int = 192
    depth: int = 4
    heads: int = 3
    generation: Generation = "2.0"


def encoder_config(shape: EncoderShape, image_size: int) -> EncoderConfig:
    """The official encoder class's configuration for our size."""
    return EncoderConfig(
        image_size=image_size,
        embed_dim=shape.dim,
        depth=shape.depth,
        num_heads=shape.heads,
        num_frames=2,
        generation=shape.generation,
    )


def save_run_encoder(folder: Path, encoder: VisionTransformer) -> Path:
    """Write the weights, and the shape beside them; returns the weights' path."""
    write_whole(folder / SHAPE_FILE, json.dumps(asdict(encoder.config), indent=1) + "\n")
    save_tensors(folder / WEIGHTS_FILE, encoder.state_dict())
    return folder / WEIGHTS_FILE


def encoder_files(source: Path) -> list[Path]:
    """The files that an encoder is read from: of a run, of a checkpoint's folder, or the one file itself or named."""
    if (named := EncoderSource.parse(source)) is not None:
        return [named.weights]
    if source.is_file():
        return [source]
    stored = [*source.glob("*.safetensors"), *source.glob("*.json")] if any(source.glob("*.safetensors")) else []
    return sorted(stored) or [path for path in (source / WEIGHTS_FILE, source / SHAPE_FILE) if path.exists()]


def load_run_encoder(folder: Path, shape: EncoderShape, image_size: int) -> VisionTransformer:
    """The encoder of a finished run.

    Args:
        folder: the run's.
        shape: of the encoder, where an older run did not write it down.
        image_size: of the encoder, likewise.

    Raises:
        FileNotFoundError: the run is not finished.
    """
    path = folder / WEIGHTS_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run `jepa pretrain --out {folder}` to its end first")
    encoder = VisionTransformer(_stored_shape(folder) or encoder_config(shape, image_size))
    encoder.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return encoder


def _stored_shape(folder: Path) -> EncoderConfig | None:
    path = folder / SHAPE_FILE
    if not path.exists():
        return None
    values: dict[str, Any] = json.loads(path.read_text())
    if values["output_layers"] is not None:
        values["output_layers"] = tuple(values["output_layers"])
    return EncoderConfig(**values)

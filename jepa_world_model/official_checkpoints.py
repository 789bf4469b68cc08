"""Networks from released V-JEPA 2 files: which shape a file has, and its weights in our modules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import torch
from torch import nn

from jepa_world_model.action_predictor import ActionConditionedPredictor, ActionPredictorConfig
from jepa_world_model.checkpoint import load_encoder_of, load_predictor_of, load_weights, open_world_model
from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.encoders import Encoder, EncoderKind, EncoderSource
from jepa_world_model.hugging_face import read_hugging_face_config
from jepa_world_model.hugging_face_files import safetensors_files
from jepa_world_model.masked_predictor import MaskedPredictor, MaskedPredictorConfig
from jepa_world_model.model_card import ModelCard
from jepa_world_model.official_files import OfficialWeights, read_official
from jepa_world_model.registry import OFFICIAL_MODELS, OfficialModel, official_model
from jepa_world_model.safetensors_header import read_metadata
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

Config = TypeVar("Config", EncoderConfig, ActionPredictorConfig, MaskedPredictorConfig)
Network = VisionTransformer | ActionConditionedPredictor | MaskedPredictor

_CPU = torch.device("cpu")
_CHUNK = 1 << 22


@dataclass(frozen=True)
class NetworkShapes:
    """Shapes of the networks in a file; None where the file has no such network."""

    encoder: EncoderConfig
    action_predictor: ActionPredictorConfig | None = None
    masked_predictor: MaskedPredictorConfig | None = None

    @classmethod
    def of(cls, model: OfficialModel) -> NetworkShapes:
        """The shapes of a released model."""
        return cls(model.encoder, model.action_predictor, model.masked_predictor)

    @classmethod
    def read(cls, path: Path) -> NetworkShapes:
        """Shapes from a JSON file: ``{"encoder": {...}, "action_predictor": {...}}`` with the configurations' fields.

        Raises:
            CheckpointError: no encoder, or a field that its configuration does not have.
        """
        values = json.loads(path.read_text())
        if "encoder" not in values:
            raise CheckpointError(f'{path} has no "encoder"; expected {{"encoder": {{"embed_dim": ..., ...}}}}')
        return cls(
            _configured(EncoderConfig, values["encoder"], path),
            _optional(ActionPredictorConfig, values.get("action_predictor"), path),
            _optional(MaskedPredictorConfig, values.get("masked_predictor"), path),
        )

    def network(self, part: str) -> Network | None:
        """A network on the meta device, without weights: "encoder", "action_predictor" or "masked_predictor"."""
        with torch.device("meta"):
            if part == "encoder":
                return VisionTransformer(self.encoder)
            if part == "action_predictor" and self.action_predictor is not None:
                return ActionConditionedPredictor(self.action_predictor)
            if part == "masked_predictor" and self.masked_predictor is not None:
                return MaskedPredictor(self.masked_predictor)
        return None


def _configured(kind: type[Config], values: Mapping[str, Any], path: Path) -> Config:
    if unknown := set(values) - {field.name for field in fields(kind)}:
        raise CheckpointError(f"{path}: {kind.__name__} has no {', '.join(sorted(unknown))}")
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return kind(**arguments)


def _optional(kind: type[Config], values: Mapping[str, Any] | None, path: Path) -> Config | None:
    return None if values is None else _configured(kind, values, path)


@dataclass(frozen=True)
class OfficialCheckpoint:
    """A released file and the shapes of its networks."""

    weights: OfficialWeights
    shapes: NetworkShapes

    @overload
    def load(
        self, part: Literal["encoder"], device: torch.device = ..., dtype: torch.dtype = ...
    ) -> VisionTransformer | None: ...

    @overload
    def load(
        self, part: Literal["action_predictor"], device: torch.device = ..., dtype: torch.dtype = ...
    ) -> ActionConditionedPredictor | None: ...

    @overload
    def load(
        self, part: Literal["masked_predictor"], device: torch.device = ..., dtype: torch.dtype = ...
    ) -> MaskedPredictor | None: ...

    def load(self, part: str, device: torch.device = _CPU, dtype: torch.dtype = torch.float32) -> Network | None:
        """One network with its weights, frozen; None when the file has none of that kind.

        Raises:
            CheckpointError: missing, unexpected or misshapen tensors, or values that are not finite.
        """
        module, slots = self.shapes.network(part), self.weights.parts.get(part)
        if module is None or slots is None:
            return None
        source = f"{part} of {self.weights.source}"
        check_keys(module, slots, source)
        load_weights(module, {name: slot.read().to(device, dtype) for name, slot in slots.items()}, source)
        return module.eval().requires_grad_(False)

    def card(self, name: str, version: str = "") -> ModelCard:
        """The card of this model: the settings of the published evaluation and planning."""
        encoder = self.shapes.encoder
        # 2-AC was trained on whole frames, the others on crops of slightly larger ones.
        short_side = None if self.shapes.action_predictor else int(256 / 224 * encoder.image_size)
        return ModelCard(
            name=name,
            version=version,
            image_size=encoder.image_size,
            short_side=short_side,
            tokens=encoder.tokens_per_frame,
            dim=encoder.embed_dim,
        )


def open_official(path: Path, model: str = "", shapes: NetworkShapes | None = None) -> OfficialCheckpoint:
    """Open a released file.

    Args:
        path: an official ``.pt``, a Hugging Face safetensors file or its folder.
        model: which released model it is, when neither its name nor its tensors tell.
        shapes: its shapes, when it is no released model.

    Raises:
        CheckpointError: the file cannot be read, or its shape cannot be told.
        ValueError: no released model of that name.
    """
    weights = read_official(Path(path))
    return OfficialCheckpoint(weights, shapes or _find_shapes(weights, model))


def load_encoder(
    path: str | Path,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.float32,
    model: str = "",
    shapes: NetworkShapes | None = None,
) -> Encoder:
    """The encoder of a checkpoint of this package, of a released file, or of ``KIND:NAME@FILE``.

    Arguments as in :func:`open_official`.

    Raises:
        CheckpointError: the file holds no encoder or cannot be used.
    """
    encoder: Encoder | None
    if (source := EncoderSource.parse(path)) is not None:
        encoder = source.open(device, dtype)
    elif is_official(Path(path)):
        encoder = open_official(Path(path), model, shapes).load("encoder", device, dtype)
    else:
        encoder = load_encoder_of(open_world_model(path), device, dtype)
    if encoder is None:
        raise CheckpointError(f"{path} holds no encoder")
    return encoder


def load_predictor(
    path: str | Path,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.float32,
    model: str = "",
    shapes: NetworkShapes | None = None,
) -> ActionConditionedPredictor:
    """The action-conditioned predictor of a checkpoint, as :func:`load_encoder`.

    Raises:
        CheckpointError: the file holds no such predictor or cannot be used.
    """
    if is_official(Path(path)):
        predictor = open_official(Path(path), model, shapes).load("action_predictor", device, dtype)
    else:
        predictor = load_predictor_of(open_world_model(path), device, dtype)
    if predictor is None:
        raise CheckpointError(f"{path} holds no action-conditioned predictor; planning needs one, as in vjepa2-ac-vitg")
    return predictor


def is_official(path: Path) -> bool:
    """Whether a path is to be read as a released file: a folder, a ``.pt``, or a safetensors file without our header.

    Raises:
        CheckpointError: a safetensors file that cannot be read.
    """
    if path.is_dir() or path.suffix in (".pt", ".pth"):
        return True
    return path.suffix == ".safetensors" and path.is_file() and "format" not in _own_metadata(path)


def _own_metadata(path: Path) -> dict[str, str]:
    metadata = read_metadata(path)
    # Hugging Face writes {"format": "pt"}.
    return {} if metadata.get("format") == "pt" else metadata


def official_version(path: Path) -> str:
    """Short SHA-256 of a released model's file, 12 hex digits; of several files in the order of their names.

    Raises:
        CheckpointError: a folder without a model, or with a part missing.
    """
    digest = hashlib.sha256()
    for file in safetensors_files(path):
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()[:12]


def _find_shapes(weights: OfficialWeights, model: str) -> NetworkShapes:
    if model:
        return NetworkShapes.of(official_model(model))
    if weights.source.stem in OFFICIAL_MODELS and weights.source.suffix == ".pt":
        return NetworkShapes.of(OFFICIAL_MODELS[weights.source.stem])
    if weights.source.suffix != ".pt" and (config := read_hugging_face_config(weights.source)):
        return NetworkShapes(config)
    fitting = [candidate for candidate in OFFICIAL_MODELS.values() if _fits(candidate, weights)]
    if len(fitting) == 1:
        return NetworkShapes.of(fitting[0])
    if fitting:
        names = ", ".join(candidate.file for candidate in fitting)
        raise CheckpointError(f"{weights.source} could be any of {names}: say which one with --model")
    raise CheckpointError(
        f"{weights.source} is no released model, and heads and image size are not in the weights: give its shape in a "
        'JSON file with --config, {"encoder": {"embed_dim": ..., "depth": ..., "num_heads": ..., "image_size": ...}}'
    )


def _fits(model: OfficialModel, weights: OfficialWeights) -> bool:
    """Whether a model has the file's networks and its encoder's size; every key is compared when it is loaded."""
    encoder, config = weights.parts["encoder"], model.encoder
    patches = encoder.get("patch_embed.proj.weight")
    depth = sum(name.endswith(".norm1.weight") for name in encoder)
    generation = "2.1" if "norms_block.0.weight" in encoder else "2.0"
    same_size = patches is not None and patches.shape[0] == config.embed_dim and depth == config.depth
    plans = "action_predictor" in weights.parts
    return same_size and generation == config.generation and plans == (model.action_predictor is not None)


def key_differences(module: nn.Module | None, slots: Mapping[str, Any]) -> list[str]:
    """Every name in which a module and stored tensors (anything with a shape) differ, as phrases for people."""
    expected = {} if module is None else {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    got = {name: tuple(slot.shape) for name, slot in slots.items()}
    return [
        *(f"{name} is missing" for name in _sorted(expected.keys() - got.keys())),
        *(f"{name} is unexpected" for name in _sorted(got.keys() - expected.keys())),
        *(
            f"{name} is {list(got[name])} where {list(shape)} belongs"
            for name, shape in expected.items()
            if got.get(name, shape) != shape
        ),
    ]


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names)


def check_keys(module: nn.Module, slots: Mapping[str, Any], source: str) -> None:
    """Refuse stored tensors that are not exactly those of ``module``.

    Raises:
        CheckpointError: names every difference.
    """
    if differences := key_differences(module, slots):
        lines = "\n  ".join(differences)
        raise CheckpointError(
            f"{source} does not fit the shape that it was taken for ({len(differences)} differences); is it the right "
            f"model? Name it with --model or give its shape with --config.\n  {lines}"
        )


def _build(config: EncoderConfig) -> VisionTransformer:
    with torch.device("meta"):
        return VisionTransformer(config)


def _read(name: str, weights: Path) -> VisionTransformer:
    encoder = open_official(weights, name).load("encoder")
    if encoder is None:
        raise CheckpointError(f"{weights} holds no encoder")
    return encoder


VJEPA = EncoderKind(EncoderConfig, _build, _read)

"""Encoders from timm, the library of image models: ``timm:NAME@FILE``.

Size and normalisation are those of timm's own configuration of the model. Its last feature map is the latent: of a
transformer the patches without class and register tokens, of a convolutional network the cells. A frame is scaled to
the model's size with nothing cut off its short side, as for every encoder here; timm's evaluation cuts off a border.
"""

from __future__ import annotations

import difflib
import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.encoders import Encoder, EncoderKind
from jepa_world_model.preprocess import Preprocess


@dataclass(frozen=True)
class TimmConfig:
    """A model of timm as an encoder.

    Attributes:
        name: by which timm knows the model.
        image_size: side of the images that it takes, pixels.
        grid_size: tokens along one side of the feature map.
        embed_dim: features of a token.
        mean, std: of the normalisation, per channel.
    """

    kind: ClassVar[str] = "timm"
    name: str
    image_size: int
    grid_size: int
    embed_dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def patch_size(self) -> int:
        """See :class:`~jepa_world_model.encoders.EncoderDescription`."""
        return self.image_size // self.grid_size

    @property
    def tokens_per_frame(self) -> int:
        """Cells of the feature map."""
        return self.grid_size**2

    @property
    def preprocess(self) -> Preprocess:
        """The whole height or width at the model's size, normalised as in its training."""
        return Preprocess(self.image_size, mean=self.mean, std=self.std)


class TimmEncoder(Encoder):
    """The feature map of an image model."""

    def __init__(self, config: TimmConfig, model: nn.Module) -> None:
        super().__init__()
        self.config, self.model = config, model

    def forward(self, clip: Tensor) -> Tensor:
        """Tokens ``[B, tokens, dim]`` of the last frame of clips ``[B, 3, T, H, W]``."""
        return _tokens(self.model, clip[:, :, -1])


def _tokens(model: Any, images: Tensor) -> Tensor:
    """Tokens ``[B, N, D]`` of images ``[B, 3, H, W]``, row by row."""
    features: Tensor = model.forward_features(images)
    if features.ndim == 4:
        channels_last = str(getattr(model, "output_fmt", "NCHW")) == "NHWC"
        return features.flatten(1, 2) if channels_last else features.flatten(2).transpose(1, 2)
    return features[:, getattr(model, "num_prefix_tokens", 0) :]


def _build(config: TimmConfig) -> TimmEncoder:
    # Not on the meta device: buffers that are in no file would stay there.
    return TimmEncoder(config, _create(config.name))


def _create(name: str) -> nn.Module:
    # timm takes a second to import; nodes with another encoder do without.
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(pretrained=True) + timm.list_models(), n=5)
        raise CheckpointError(f"timm {timm.__version__} has no model {name!r}; similar ones: {', '.join(close) or '-'}")
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise CheckpointError(f"timm {timm.__version__} cannot make the model {name!r}: {error}") from error
    return model.eval()


def _read(name: str, weights: Path) -> TimmEncoder:
    from jepa_world_model.checkpoint import load_weights

    model = _create(name)
    config = _describe(name, model)
    load_weights(model, _stored_weights(model, weights), f"{weights}, taken for {name} of timm,")
    return TimmEncoder(config, model)


def _stored_weights(model: nn.Module, weights: Path) -> dict[str, Tensor]:
    """A file's tensors under the model's names, without the classifier that features do not need."""
    from timm.models import load_state_dict

    try:
        tensors = load_state_dict(str(weights), weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{weights} cannot be read as weights of a timm model: {error}") from error
    # Published files may have other names and sizes, which the model's module in timm knows.
    rename = getattr(inspect.getmodule(type(model)), "checkpoint_filter_fn", None)
    tensors = rename(tensors, model) if rename else tensors
    classifiers = _classifiers(model)
    return {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[0] not in classifiers}


def _classifiers(model: Any) -> tuple[str, ...]:
    names = model.pretrained_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


@torch.inference_mode()
def _describe(name: str, model: nn.Module) -> TimmConfig:
    """What timm's configuration and one look at a feature map tell."""
    from timm.data import resolve_model_data_config

    settings = resolve_model_data_config(model)
    channels, height, width = settings["input_size"]
    tokens = _tokens(model, torch.zeros(1, channels, height, width))
    grid = math.isqrt(tokens.shape[1])
    if height != width or channels != 3 or grid**2 != tokens.shape[1] or height // (height // grid) != grid:
        raise CheckpointError(
            f"{name} of timm takes images {channels} x {height} x {width} and gives {tokens.shape[1]} tokens: expected"
            " square RGB images and a square grid of tokens; choose another model"
        )
    return TimmConfig(name, height, grid, tokens.shape[2], tuple(settings["mean"]), tuple(settings["std"]))


TIMM = EncoderKind(TimmConfig, _build, _read)

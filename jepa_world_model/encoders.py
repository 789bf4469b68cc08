"""Encoders of every kind: what they promise, how they are found by name, and how frames become latents.

``vjepa`` and ``timm`` are this package's kinds; other packages add theirs through the entry points
``jepa_ros.encoders``. docs/add-your-own.md shows how.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_common.registry import Registry, UnknownNameError
from jepa_world_model.checkpoint_errors import CheckpointError
from jepa_world_model.model_card import ModelCard
from jepa_world_model.preprocess import Preprocess

_SOURCE = re.compile(r"(?P<kind>[a-z]\w+):(?P<name>[^@/]+)(@(?P<weights>.+))?")
_VERSION_DIGITS = 12


class EncoderDescription(Protocol):
    """What a kind's configuration tells: a frozen dataclass of JSON values, which checkpoints keep in their header.

    Attributes:
        kind: the name under which the kind is registered.
    """

    kind: ClassVar[str]

    @property
    def image_size(self) -> int:
        """Side of the square images, pixels."""

    @property
    def patch_size(self) -> int:
        """Pixels along one side of the square that a token stands for; the grid has ``image_size // patch_size``."""

    @property
    def embed_dim(self) -> int:
        """Features of a token."""

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one frame, row by row of the grid."""

    @property
    def preprocess(self) -> Preprocess:
        """How frames become the encoder's input."""


class Encoder(nn.Module):
    """Clips ``[B, 3, T, H, W]`` of normalised RGB -> tokens ``[B, N, D]``; ``N`` is a frame's for two equal frames.

    Planning encodes single frames, and gives each as a clip of two equal frames. An encoder of images takes one of
    them.
    """

    config: EncoderDescription

    @property
    def compiled_parts(self) -> Iterable[nn.Module]:
        """The modules that ``torch.compile`` gets one by one: repeated blocks, or everything."""
        return (self,)

    def expect_images(self, size: int) -> None:
        """Takes note that the data's images have ``size`` pixels along each side.

        Nothing changes for an encoder of one size: its preprocessing scales them.
        """


@dataclass(frozen=True)
class EncoderKind:
    """How encoders of one kind are described, built and read.

    Attributes:
        config: the frozen dataclass that describes one, see :class:`EncoderDescription`.
        build: the network of a ``config``; its weights are put in afterwards.
        read: the encoder of a name with the weights in a local file. Nothing is downloaded.
    """

    config: type[Any]
    build: Callable[[Any], Encoder]
    read: Callable[[str, Path], Encoder]


ENCODER_KINDS: Registry[EncoderKind] = Registry(
    "jepa_ros.encoders",
    "kind of encoder",
    {"vjepa": "jepa_world_model.official_checkpoints:VJEPA", "timm": "jepa_world_model.timm_encoder:TIMM"},
)


@dataclass(frozen=True)
class EncoderSource:
    """An encoder that is in no checkpoint yet: ``KIND:NAME@FILE``, such as ``timm:resnet18@resnet18.safetensors``.

    Attributes:
        kind: registered in :data:`ENCODER_KINDS`.
        name: of the model within its kind.
        weights: the local file that holds them.
    """

    kind: str
    name: str
    weights: Path

    @classmethod
    def parse(cls, text: str | Path) -> EncoderSource | None:
        """The source that a text names; None where the text has another form, as a path or the name of a checkpoint.

        Raises:
            CheckpointError: no file is named.
        """
        found = _SOURCE.fullmatch(str(text))
        if found is None or Path(text).exists():
            return None
        if found["weights"] is None:
            raise CheckpointError(
                f"{text}: expected {found['kind']}:NAME@FILE with the file that holds the weights; they are not"
                " downloaded, fetch them beforehand"
            )
        return cls(found["kind"], found["name"], Path(found["weights"]).expanduser())

    @property
    def version(self) -> str:
        """First 12 hex digits of the file's SHA-256."""
        with self.weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:_VERSION_DIGITS]

    def open(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Encoder:
        """The encoder, frozen.

        Raises:
            CheckpointError: no such kind, model or file, or weights that do not fit the model.
        """
        if not self.weights.is_file():
            raise CheckpointError(f"{self.weights}: expected the weights of {self.kind}:{self.name}, there is no file")
        encoder = encoder_kind(self.kind).read(self.name, self.weights)
        return encoder.to(device, dtype).eval().requires_grad_(False)


def encoder_kind(name: str) -> EncoderKind:
    """A registered kind.

    Raises:
        CheckpointError: there is none of that name.
    """
    try:
        return ENCODER_KINDS.load(name)
    except UnknownNameError as error:
        raise CheckpointError(str(error)) from error


def encoder_card(config: EncoderDescription, name: str, version: str = "") -> ModelCard:
    """The card of a model with this encoder: preprocessing and the latents' shape; the rest has its defaults."""
    preprocess = config.preprocess
    return ModelCard(
        name=name,
        version=version,
        image_size=preprocess.image_size,
        short_side=preprocess.resize_short_side,
        mean=preprocess.mean,
        std=preprocess.std,
        tokens=config.tokens_per_frame,
        dim=config.embed_dim,
    )


def frame_latents(encoder: nn.Module, images: Tensor) -> Tensor:
    """Layer-normed float32 tokens ``[N, tokens, dim]`` of preprocessed images ``[N, 3, H, W]``, each encoded alone.

    The one way from images to latents: training, evaluation and the nodes differ in nothing but what comes before and
    after. Each image is a clip of two equal frames, and its tokens get a LayerNorm without parameters (V-JEPA 2,
    section 3).
    """
    tokens = encoder(images.unsqueeze(2).expand(-1, -1, 2, -1, -1)).float()
    return F.layer_norm(tokens, tokens.shape[-1:])

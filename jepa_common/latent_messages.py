"""`jepa_ros/Latent` messages to arrays and back; whatever comes in is checked before it is used."""

from __future__ import annotations

import array
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jepa_ros.msg import Latent
from numpy.typing import NDArray
from std_msgs.msg import Header

FloatArray = NDArray[np.float32]

# 2.6 million values: one frame of the largest published encoder at 512 pixels, with room to spare.
MAX_BYTES = 1 << 26


class LatentRefusedError(ValueError):
    """The message cannot be used; its text says what was expected and what came."""


@dataclass(frozen=True)
class LatentKind:
    """What a consumer accepts: one model's latents of one shape.

    Attributes:
        model: "<checkpoint name>@<first 12 hex digits of the weights' SHA-256>".
        tokens: patches of a frame.
        dim: features of a patch.
    """

    model: str
    tokens: int
    dim: int


def _bfloat16_bytes(values: FloatArray) -> bytes:
    """Upper halves of the float32 values, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def _from_bfloat16(data: bytes | array.array[int]) -> FloatArray:
    return (np.frombuffer(data, dtype="<u2").astype("<u4") << 16).view("<f4")


@dataclass(frozen=True)
class _Dtype:
    size: int
    encode: Callable[[FloatArray], bytes]
    decode: Callable[[bytes | array.array[int]], FloatArray]


_DTYPES = {
    "float32": _Dtype(4, lambda v: v.astype("<f4").tobytes(), lambda d: np.frombuffer(d, dtype="<f4")),
    "float16": _Dtype(
        2,
        lambda v: v.astype("<f2").tobytes(),
        lambda d: np.frombuffer(d, dtype="<f2").astype(np.float32),
    ),
    "bfloat16": _Dtype(2, _bfloat16_bytes, _from_bfloat16),
}
DTYPES = tuple(_DTYPES)


def latent_to_message(latent: FloatArray, header: Header, model: str, dtype: str = "float32") -> Latent:
    """The message of a feature map.

    Args:
        latent: [frames, tokens, dim], float32.
        header: the source image's.
        model: "<name>@<sha12>" of the encoder.
        dtype: one of `DTYPES`; the two short ones halve the message.
    """
    if latent.ndim != 3:
        raise ValueError(f"expected a latent [frames, tokens, dim], got {latent.ndim} dimensions")
    if dtype not in _DTYPES:
        raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, got {dtype!r}")
    message = Latent(header=header, model=model, shape=array.array("I", latent.shape), dtype=dtype)
    # rclpy copies an array of bytes in one go, and any other sequence one element at a time.
    message.data = array.array("B", _DTYPES[dtype].encode(latent))
    return message


def message_to_latent(message: Latent, accepted: LatentKind | None = None) -> FloatArray:
    """The feature map of a message, float32 [frames, tokens, dim].

    Args:
        message: from anywhere, trusted in nothing.
        accepted: the model and shape to insist on; `None` takes any consistent message.

    Raises:
        LatentRefusedError: another model or shape, an unknown dtype, a wrong size, or values not finite.
    """
    shape = tuple(int(size) for size in message.shape)
    _check_layout(message, shape)
    if accepted is not None:
        _check_kind(message, shape, accepted)
    latent = _DTYPES[message.dtype].decode(message.data).reshape(shape)
    if not np.isfinite(latent).all():
        count = int(np.count_nonzero(~np.isfinite(latent)))
        raise LatentRefusedError(f"latent: expected finite values, {count} of {latent.size} are not")
    return latent


def _check_layout(message: Latent, shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise LatentRefusedError(f"latent: expected a shape [frames, tokens, dim] of positive sizes, got {shape}")
    if message.dtype not in _DTYPES:
        raise LatentRefusedError(f"latent: expected a dtype of {', '.join(DTYPES)}, got {message.dtype!r}")
    size = math.prod(shape) * _DTYPES[message.dtype].size
    if size > MAX_BYTES:
        raise LatentRefusedError(f"latent: shape {shape} needs {size} bytes, more than the {MAX_BYTES} accepted")
    if len(message.data) != size:
        raise LatentRefusedError(
            f"latent: shape {shape} of {message.dtype} needs {size} bytes of data, got {len(message.data)}"
        )


def _check_kind(message: Latent, shape: tuple[int, ...], accepted: LatentKind) -> None:
    if message.model != accepted.model:
        raise LatentRefusedError(
            f"latent: expected one of model {accepted.model}, got one of {message.model or 'no model'}: "
            "start the encoder and this node with the same checkpoint"
        )
    if shape[1:] != (accepted.tokens, accepted.dim):
        raise LatentRefusedError(f"latent: expected [frames, {accepted.tokens}, {accepted.dim}], got {list(shape)}")

"""ROS images as RGB arrays, whatever the encoding, row padding and byte order; what cannot be used is refused.

The five encodings of colour cameras are read in place with numpy. Others (Bayer patterns, 16 bits, YUV) go
through cv_bridge where it is installed and through rosbags-image otherwise. Messages may be those of rclpy or of a
bag that is read without ROS: only their fields matter.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image

RgbImage = NDArray[np.uint8]

# More than any camera sends; a corrupt header must not make the node allocate without bound.
MAX_PIXELS = 1 << 26


class ImageRefusedError(ValueError):
    """The image cannot be used; the text says what was expected and what came."""


@dataclass(frozen=True)
class _Layout:
    """How a pixel of one byte per channel becomes red, green, blue: `order` indexes its channels."""

    channels: int
    order: tuple[int, int, int]


_LAYOUTS = {
    "rgb8": _Layout(3, (0, 1, 2)),
    "bgr8": _Layout(3, (2, 1, 0)),
    "rgba8": _Layout(4, (0, 1, 2)),
    "bgra8": _Layout(4, (2, 1, 0)),
    "mono8": _Layout(1, (0, 0, 0)),
}
ENCODINGS = tuple(_LAYOUTS)


def image_to_rgb(message: Image) -> RgbImage:
    """The picture of a raw image message: uint8 [height, width, 3], red first.

    Raises:
        ImageRefusedError: unknown encoding, no pixels, or a step or amount of data that contradicts the size.
    """
    _check_size(message.height, message.width)
    layout = _LAYOUTS.get(message.encoding)
    if layout is None:
        return _other_encoding_to_rgb(message)
    rows = _rows(message, message.width * layout.channels)
    pixels = rows.reshape(message.height, message.width, layout.channels)
    if message.encoding == "rgb8":
        return np.ascontiguousarray(pixels)
    return np.ascontiguousarray(pixels[:, :, list(layout.order)])


def compressed_to_rgb(message: CompressedImage) -> RgbImage:
    """The picture of a JPEG or PNG message: uint8 [height, width, 3], red first.

    Raises:
        ImageRefusedError: another format, too many pixels, or data that does not decode.
    """
    form = message.format.lower()
    if not any(name in form for name in ("jpeg", "jpg", "png")) or "depth" in form:
        raise ImageRefusedError(f"compressed image: expected the format jpeg or png, got {message.format!r}")
    data = np.frombuffer(message.data, dtype=np.uint8)
    size = picture_size(data[:_HEADER_BYTES].tobytes())
    if size is None:
        raise ImageRefusedError(
            f"compressed image: expected {message.format} data, the {data.size} bytes that came do not decode"
        )
    # What a file of some kilobytes unpacks to is only known from its header.
    _check_size(*size)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if picture is None:
        raise ImageRefusedError(
            f"compressed image: expected {message.format} data, the {data.size} bytes that came do not decode"
        )
    _check_size(picture.shape[0], picture.shape[1])
    return np.ascontiguousarray(picture[:, :, ::-1])


def picture_size(header: bytes) -> tuple[int, int] | None:
    """Height and width that the beginning of a PNG or JPEG file says; None for any other file, or without a size."""
    if header[:8] == b"\x89PNG\r\n\x1a\n" and header[12:16] == b"IHDR" and len(header) >= 24:
        return int.from_bytes(header[20:24], "big"), int.from_bytes(header[16:20], "big")
    return _jpeg_size(header) if header[:2] == b"\xff\xd8" else None


def _jpeg_size(header: bytes) -> tuple[int, int] | None:
    """Height and width from a JPEG's frame header, the first segment that begins a frame."""
    at = 2
    while at + 9 <= len(header) and header[at] == 0xFF:
        marker, length = header[at + 1], int.from_bytes(header[at + 2 : at + 4], "big")
        if marker == 0xFF:  # fill
            at += 1
        elif marker in _FRAME_MARKERS:
            return int.from_bytes(header[at + 5 : at + 7], "big"), int.from_bytes(header[at + 7 : at + 9], "big")
        else:
            at += 2 + length
    return None


# Of a JPEG's segments 0xC0 to 0xCF, those that do not begin a frame hold tables.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A frame header comes after the metadata, thumbnails and colour profiles among them.
_HEADER_BYTES = 1 << 20


def rgb_to_image(picture: RgbImage, header: Any) -> Image:
    """The rgb8 message of a picture uint8 [height, width, 3]."""
    from sensor_msgs.msg import Image

    height, width, _ = picture.shape
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=width * 3)
    message.data.frombytes(np.ascontiguousarray(picture).tobytes())
    return message


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ImageRefusedError(f"image: expected at least one pixel, got {width} x {height}")
    if height * width > MAX_PIXELS:
        raise ImageRefusedError(f"image: expected at most {MAX_PIXELS} pixels, got {width} x {height}")


def _rows(message: Image, row_bytes: int) -> RgbImage:
    """The rows without their padding, uint8 [height, row_bytes]; a view of the message's data.

    The last row may come without its padding, as some drivers send it.
    """
    height, step = message.height, message.step
    if step < row_bytes:
        raise ImageRefusedError(
            f"image: a row of {message.width} pixels of {message.encoding} takes {row_bytes} bytes, "
            f"got a step of {step}"
        )
    least = step * (height - 1) + row_bytes
    if not least <= len(message.data) <= step * height:
        raise ImageRefusedError(
            f"image: {height} rows with a step of {step} take {step * height} bytes, got {len(message.data)}"
        )
    data = np.frombuffer(message.data, dtype=np.uint8)
    return np.lib.stride_tricks.as_strided(data, (height, row_bytes), (step, 1), writeable=False)


def _other_encoding_to_rgb(message: Image) -> RgbImage:
    """Converts with a library; its complaint becomes part of the refusal."""
    convert = _cv_bridge_to_rgb if importlib.util.find_spec("cv_bridge") else _rosbags_to_rgb
    try:
        return convert(_without_padding(message))
    except (RuntimeError, ValueError, TypeError, cv2.error) as error:
        raise ImageRefusedError(
            f"image: expected the encoding {', '.join(ENCODINGS)} or one that converts to them, "
            f"got {message.encoding!r} ({error})"
        ) from error


def _without_padding(message: Image) -> SimpleNamespace:
    """The same image with rows that follow each other directly, which is how rosbags-image reads them."""
    from rosbags.image import ImageError
    from rosbags.image.image import to_cvtype

    try:
        bits, _, _, channels = to_cvtype(message.encoding)
    except ImageError as error:
        raise ValueError(str(error)) from error
    row_bytes = math.ceil(message.width * channels * bits / 8)
    return SimpleNamespace(
        header=message.header,
        height=message.height,
        width=message.width,
        encoding=message.encoding,
        is_bigendian=message.is_bigendian,
        step=row_bytes,
        data=_rows(message, row_bytes).reshape(-1),
    )


def _cv_bridge_to_rgb(message: SimpleNamespace) -> RgbImage:
    from cv_bridge import CvBridge  # part of a ROS installation, not of the wheels

    return np.ascontiguousarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))


def _rosbags_to_rgb(message: SimpleNamespace) -> RgbImage:
    from rosbags.image import ImageError, image_to_cvimage

    try:
        picture = image_to_cvimage(cast("Any", message), "rgb8")  # which reads the fields and nothing else
        return np.ascontiguousarray(cast("RgbImage", picture))
    except ImageError as error:
        raise ValueError(str(error)) from error

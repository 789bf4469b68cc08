"""ROS images as RGB arrays, whatever the encoding, row padding and byte order; what cannot be used is refused.

Numpy and OpenCV do it all, so that the same bytes are the same picture on every machine. Messages may be those of rclpy
or of a bag that is read without ROS: only their fields matter. docs/your-camera.md lists the encodings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image

RgbImage = NDArray[np.uint8]
Array = NDArray[Any]
ByteOrder: TypeAlias = Literal["little", "big"]

# More than any camera sends; a corrupt header must not make the node allocate without bound.
MAX_PIXELS = 1 << 26


class ImageRefusedError(ValueError):
    """The image cannot be used; the text says what was expected and what came."""


@dataclass(frozen=True)
class _Layout:
    """How rows of bytes become a picture.

    Attributes:
        channels: numbers per pixel in a row.
        to_rgb: takes [height, width, channels] and returns [height, width, 3].
        bits: of a number: 8, or 16 in the byte order that the message names.
        shared: so many pixels of a row share their colour.
        least: pixels along each side: a colour that is missing is made up from those around.
    """

    channels: int
    to_rgb: Callable[[Array], Array]
    bits: int = 8
    shared: int = 1
    least: int = 1


def _ordered(*order: int) -> Callable[[Array], Array]:
    """Takes red, green and blue from these channels."""
    return lambda pixels: pixels[:, :, list(order)]


def _converted(code: int) -> Callable[[Array], Array]:
    return lambda pixels: cv2.cvtColor(np.ascontiguousarray(pixels), code)


# OpenCV names a pattern by the second row's second and third pixel: its BG is RGGB.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB, "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB, "grbg": cv2.COLOR_BayerGB2RGB,
}  # fmt: skip
_UYVY = _Layout(2, _converted(cv2.COLOR_YUV2RGB_UYVY), shared=2)
_YUYV = _Layout(2, _converted(cv2.COLOR_YUV2RGB_YUY2), shared=2)
_LAYOUTS: Final = {
    "rgb8": _Layout(3, _ordered(0, 1, 2)),
    "bgr8": _Layout(3, _ordered(2, 1, 0)),
    "rgba8": _Layout(4, _ordered(0, 1, 2)),
    "bgra8": _Layout(4, _ordered(2, 1, 0)),
    "mono8": _Layout(1, _ordered(0, 0, 0)),
    "rgb16": _Layout(3, _ordered(0, 1, 2), 16),
    "bgr16": _Layout(3, _ordered(2, 1, 0), 16),
    "rgba16": _Layout(4, _ordered(0, 1, 2), 16),
    "bgra16": _Layout(4, _ordered(2, 1, 0), 16),
    "mono16": _Layout(1, _ordered(0, 0, 0), 16),
    **{
        f"bayer_{name}{bits}": _Layout(1, _converted(code), bits, least=4)
        for name, code in _BAYER.items()
        for bits in (8, 16)
    },
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
}
_PLANAR: Final = {"nv12": (2, 0), "nv21": (2, 1), "nv24": (1, 0)}
"""Pixels per sample of colour along each axis, and which of a sample's two numbers is the blue difference."""

ENCODINGS = (*_LAYOUTS, *_PLANAR)
_MATRIX = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)C?\d*")

_DEPTHS = re.compile(r"depth|^\s*(16|32|64)[USF]C\d", re.IGNORECASE)
"""Formats of compressed messages whose numbers are no colours."""
_JPEG = b"\xff\xd8\xff"
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"


def image_to_rgb(message: Image) -> RgbImage:
    """The picture of a raw image message: uint8 [height, width, 3], red first.

    Raises:
        ImageRefusedError: unknown encoding, one that does not tell colours, no pixels, or a step or amount of data
            that contradicts the size.
    """
    _check_size(message.height, message.width)
    if message.encoding in _PLANAR:
        return _planar_to_rgb(message, *_PLANAR[message.encoding])
    layout = _LAYOUTS.get(message.encoding)
    if layout is None:
        raise ImageRefusedError(_why_unknown(message.encoding))
    if message.width % layout.shared or min(message.height, message.width) < layout.least:
        raise ImageRefusedError(
            f"image: {message.encoding} needs {layout.least} pixels or more along each side and a width that "
            f"{layout.shared} divides, got {message.width} x {message.height}"
        )
    rows = _rows(message, message.width * layout.channels * layout.bits // 8)
    if layout.bits == 16:
        rows = _high_bytes(np.ascontiguousarray(rows), bool(message.is_bigendian))
    return np.ascontiguousarray(layout.to_rgb(rows.reshape(message.height, message.width, layout.channels)))


def _high_bytes(rows: RgbImage, big_endian: bool) -> RgbImage:
    """Numbers of 16 bits as 8, rounded: 65535 is 255."""
    values = rows.view(">u2" if big_endian else "<u2").astype(np.uint32)
    return ((values + 128) // 257).astype(np.uint8)


def _why_unknown(encoding: str) -> str:
    if _MATRIX.fullmatch(encoding):
        return (
            f"image: the encoding {encoding!r} names numbers and no colours: expected such as rgb8, bgr8 or mono8; "
            "set the one that is meant in the camera driver"
        )
    return f"image: expected the encoding {', '.join(ENCODINGS)}, got {encoding!r}"


def _planar_to_rgb(message: Image, shared: int, blue: int) -> RgbImage:
    """Rows of luma, then rows of colour samples, one for `shared` x `shared` pixels; full range, BT.601, as in JPEG."""
    height, width = message.height, message.width
    across, down = -(-width // shared), -(-height // shared)
    data, step = np.frombuffer(message.data, dtype=np.uint8), message.step
    colour_step = 2 * step // shared
    if data.size == height * width + 2 * across * down:
        step, colour_step = width, 2 * across  # without padding, whatever the step was said to be
    least, most = (step * height + colour_step * (down - 1) + 2 * across, step * height + colour_step * down)
    if step < width or colour_step < 2 * across or not least <= data.size <= most:
        raise ImageRefusedError(
            f"image: {width} x {height} pixels of {message.encoding} with a step of {step} take "
            f"{most} bytes, got {data.size}"
        )
    luma = np.lib.stride_tricks.as_strided(data, (height, width), (step, 1), writeable=False)
    samples = np.lib.stride_tricks.as_strided(
        data[step * height :], (down, across, 2), (colour_step, 2, 1), writeable=False
    )
    colour = samples.repeat(shared, axis=0).repeat(shared, axis=1)[:height, :width]
    # OpenCV wants luma, then the red and the blue difference.
    planes = np.dstack([luma, colour[:, :, 1 - blue], colour[:, :, blue]])
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB), dtype=np.uint8)


def compressed_to_rgb(message: CompressedImage) -> RgbImage:
    """The picture of a JPEG, PNG or TIFF message: uint8 [height, width, 3], red first.

    The data tell which it is: `format` may be empty or anything, as the message's definition has it.

    Raises:
        ImageRefusedError: depths, another kind of file, too many pixels, or data that do not decode or end too early.
    """
    if _DEPTHS.search(message.format):
        raise ImageRefusedError(f"compressed image: expected a picture, got depths ({message.format!r})")
    data = np.frombuffer(message.data, dtype=np.uint8)
    came = f"the {data.size} bytes that came do not decode (format {message.format!r})"
    size = picture_size(data.tobytes())
    if size is None:
        raise ImageRefusedError(f"compressed image: expected JPEG or PNG data, {came}")
    # What a file of some kilobytes unpacks to is only known from its header.
    _check_size(*size)
    if data[: len(_JPEG)].tobytes() == _JPEG and not _is_whole_jpeg(data.tobytes()):
        # Some versions of OpenCV fill the missing part with grey.
        raise ImageRefusedError(f"compressed image: {came}: the JPEG data end too early")
    picture = _decoded(data)
    if picture is None:
        raise ImageRefusedError(f"compressed image: expected JPEG or PNG data, {came}")
    _check_size(picture.shape[0], picture.shape[1])
    return np.ascontiguousarray(picture[:, :, ::-1])


def _decoded(data: RgbImage) -> Array | None:
    """The picture, blue first; None if it is none, or larger than OpenCV allows."""
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Height and width that a PNG, JPEG or TIFF file says it has; None for any other file, or without a size."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and len(data) >= 24:
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    if data[:4] in _TIFF:
        return _tiff_size(data, _TIFF[data[:4]])
    return _jpeg_size(data) if data[: len(_JPEG)] == _JPEG else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width from a JPEG's frame header, the first segment that begins a frame."""
    for marker, at in _segments(data):
        if marker in _FRAME_MARKERS and at + 9 <= len(data):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
    return None


def _tiff_size(data: bytes, order: ByteOrder) -> tuple[int, int] | None:
    """Height and width from a TIFF's first directory: entries of tag, type, count and value."""
    at = int.from_bytes(data[4:8], order)
    entries = data[at + 2 : at + 2 + 12 * int.from_bytes(data[at : at + 2], order)]
    sizes: dict[int, int] = {}
    for start in range(0, len(entries) - 11, 12):
        tag, kind = (int.from_bytes(entries[start + skip : start + skip + 2], order) for skip in (0, 2))
        if tag in (_TIFF_HEIGHT, _TIFF_WIDTH) and kind in _TIFF_BYTES:
            sizes[tag] = int.from_bytes(entries[start + 8 : start + 8 + _TIFF_BYTES[kind]], order)
    return (sizes[_TIFF_HEIGHT], sizes[_TIFF_WIDTH]) if len(sizes) == 2 else None


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the end comes after the first scan; a small picture in the header has an end of its own."""
    scans = (at for marker, at in _segments(data) if marker == _START_OF_SCAN)
    scan = next(scans, None)
    return scan is not None and data.find(_END_OF_IMAGE, scan) >= 0


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment of a JPEG up to its first scan."""
    at = len(_END_OF_IMAGE)
    while at + 4 <= min(len(data), _HEADER_BYTES) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker != 0xFF:  # fill
            yield marker, at
            at += 1 + int.from_bytes(data[at + 2 : at + 4], "big")
        at += 1


# Of a JPEG's segments 0xC0 to 0xCF, those that do not begin a frame hold tables.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A TIFF's first bytes tell its byte order; sizes are numbers of two bytes or of four.
_TIFF: Final[dict[bytes, ByteOrder]] = {b"II*\0": "little", b"MM\0*": "big"}
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BYTES = 256, 257, {3: 2, 4: 4}
# A JPEG's picture begins after the metadata, thumbnails and colour profiles among them.
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

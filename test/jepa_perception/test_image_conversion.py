import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from jepa_perception.image_conversion import (
    ImageRefusedError,
    compressed_to_rgb,
    image_to_rgb,
    picture_size,
    rgb_to_image,
)

# How each encoding stores the colour (10, 20, 30); mono8 stores one grey.
STORED = {
    "rgb8": (10, 20, 30),
    "bgr8": (30, 20, 10),
    "rgba8": (10, 20, 30, 255),
    "bgra8": (30, 20, 10, 255),
    "mono8": (20,),
}


def image(encoding: str, padding: int = 0, **fields) -> Image:
    """A 5 x 3 image of one colour whose padding bytes are 99, with some fields set to something else."""
    row = bytes(STORED.get(encoding, (1, 2, 3)) * 5) + bytes([99] * padding)
    message = Image(height=3, width=5, encoding=encoding, step=len(row))
    message.data.frombytes(row * 3)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize("encoding", STORED)
@pytest.mark.parametrize("padding", [0, 1, 7, 64])
@pytest.mark.parametrize("is_bigendian", [0, 1])
def test_every_encoding_step_and_byte_order_gives_the_same_colour(encoding, padding, is_bigendian):
    picture = image_to_rgb(image(encoding, padding=padding, is_bigendian=is_bigendian))
    expected = (20, 20, 20) if encoding == "mono8" else (10, 20, 30)
    assert picture.shape == (3, 5, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert (picture == expected).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.sampled_from(["rgb8", "bgr8", "bgra8"]))
def test_pixels_stay_in_their_places(height, width, padding, encoding):
    channels = len(STORED[encoding])
    source = np.random.default_rng(height * 10 + width).integers(0, 256, (height, width, channels), dtype=np.uint8)
    rows = np.zeros((height, width * channels + padding), np.uint8)
    rows[:, : width * channels] = source.reshape(height, -1)
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1])
    message.data.frombytes(rows.tobytes())
    expected = source if encoding == "rgb8" else source[:, :, 2::-1]
    np.testing.assert_array_equal(image_to_rgb(message), expected)


def test_the_last_row_may_lack_its_padding():
    message = image("rgb8", padding=4)
    message.data = message.data[:-4]
    assert (image_to_rgb(message) == (10, 20, 30)).all()


def test_a_picture_survives_the_round_trip():
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(image_to_rgb(rgb_to_image(picture, Header())), picture)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (image("rgb8", height=0), "at least one pixel, got 5 x 0"),
        (image("rgb8", width=0, step=0), "at least one pixel, got 0 x 3"),
        (Image(), "at least one pixel"),
        (image("rgb8", step=14), "takes 15 bytes, got a step of 14"),
        (image("rgb8", step=0), "got a step of 0"),
        (image("rgb8", step=16), "take 48 bytes, got 45"),
        (image("rgb8", height=4), "take 60 bytes, got 45"),
        (image("rgb8", height=2), "take 30 bytes, got 45"),
        (image("rgb8", height=2**31, width=2**31), "at most"),
        (image("infrared12"), "'infrared12'"),
        (image(""), "expected the encoding rgb8"),
        (image("32FC1", width=1, step=12), "'32FC1' names numbers and no colours"),
        (image("8UC3"), "'8UC3' names numbers and no colours"),
        (image("16UC3", step=30), "'16UC3' names numbers"),
        (image("32FC3", step=60), "'32FC3' names numbers"),
        (image("8UC1"), "'8UC1' names numbers"),
        (image("uyvy"), "a width that 2 divides, got 5 x 3"),
        (image("bayer_rggb8", width=1, step=15), "bayer_rggb8 needs 4 pixels or more along each side"),
        (image("nv12"), "take 75 bytes, got 45"),
        (image("nv12", step=4), "5 x 3 pixels of nv12 with a step of 4"),
    ],
)
def test_an_image_that_cannot_be_is_refused_with_what_came(message, words):
    with pytest.raises(ImageRefusedError) as error:
        image_to_rgb(message)
    assert words in str(error.value)


def test_sixteen_bits_of_either_byte_order_are_converted():
    pixels = np.full((2, 3), 0x8000, dtype=np.uint16)
    for is_bigendian, order in ((0, "<u2"), (1, ">u2")):
        message = Image(height=2, width=3, encoding="mono16", step=8, is_bigendian=is_bigendian)
        rows = np.zeros((2, 8), np.uint8)
        rows[:, :6] = pixels.astype(order).view(np.uint8)
        message.data.frombytes(rows.tobytes())
        assert np.abs(image_to_rgb(message).astype(int) - 128).max() <= 1


COLOURED = np.kron(
    np.array([[(200, 40, 30), (30, 180, 60)], [(40, 60, 190), (220, 210, 90)]]), np.ones((16, 24, 1), int)
).astype(np.uint8)
"""Four patches of 16 x 24 pixels: red, green, blue and yellow."""


def message_of(encoding: str, rows: np.ndarray, padding: int = 0, **fields) -> Image:
    """A message of the size of COLOURED with these rows of numbers, padded on the right."""
    data = np.pad(rows.reshape(len(rows), -1).view(np.uint8), ((0, 0), (0, padding)), constant_values=99)
    message = Image(height=32, width=48, encoding=encoding, step=data.shape[1])
    message.data.frombytes(data.tobytes())
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def centres(picture: np.ndarray) -> np.ndarray:
    """Colours in the middle of the four patches."""
    return picture[8::16, 12::24].astype(int)


def planar(order: str, shared: int, picture: np.ndarray = COLOURED) -> np.ndarray:
    """Luma rows and rows of colour samples, as JPEG defines them, [rows, width or twice the width]."""
    luma, red, blue = (plane for plane in np.moveaxis(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb), 2, 0))
    samples = np.stack([blue, red] if order == "blue first" else [red, blue], axis=2)[::shared, ::shared]
    return np.concatenate([luma.ravel(), samples.ravel()])


@pytest.mark.parametrize(("encoding", "order", "shared"), [
    ("nv12", "blue first", 2), ("nv21", "red first", 2), ("nv24", "blue first", 1),
])  # fmt: skip
def test_planes_of_luma_and_colour_are_joined(encoding, order, shared):
    message = Image(height=32, width=48, encoding=encoding, step=48)
    message.data.frombytes(planar(order, shared).tobytes())
    assert np.abs(centres(image_to_rgb(message)) - centres(COLOURED)).max() <= 4
    message.step = 72  # some drivers put all bytes of a row of pixels here
    assert np.abs(centres(image_to_rgb(message)) - centres(COLOURED)).max() <= 4


@pytest.mark.parametrize("size", [(31, 47), (32, 47), (31, 48)])
def test_planes_of_odd_sizes_and_padded_rows_are_read(size):
    picture = COLOURED[: size[0], : size[1]]
    height, width, step = *size, 50
    luma, red, blue = np.moveaxis(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb), 2, 0)
    samples = np.stack([blue, red], axis=2)[::2, ::2]
    rows = np.full((height + len(samples), step), 99, np.uint8)
    rows[:height, :width] = luma
    rows[height:, : 2 * samples.shape[1]] = samples.reshape(len(samples), -1)
    message = Image(height=height, width=width, encoding="nv12", step=step)
    message.data.frombytes(rows.tobytes())
    assert np.abs(centres(image_to_rgb(message)) - centres(picture)).max() <= 4


def test_planes_that_begin_elsewhere_than_the_size_says_are_refused():
    """Some drivers align the height: the colours of another place would be taken."""
    message = Image(height=30, width=48, encoding="nv12", step=48)
    message.data.frombytes(planar("blue first", 2).tobytes())
    with pytest.raises(ImageRefusedError, match="take 2160 bytes, got 2304"):
        image_to_rgb(message)


@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("uyvy", cv2.COLOR_RGB2YUV_UYVY),
        ("yuv422", cv2.COLOR_RGB2YUV_UYVY),
        ("yuyv", cv2.COLOR_RGB2YUV_YUY2),
        ("yuv422_yuy2", cv2.COLOR_RGB2YUV_YUY2),
    ],
)
@pytest.mark.parametrize("padding", [0, 3])
def test_interleaved_luma_and_colour_are_converted(encoding, code, padding):
    message = message_of(encoding, cv2.cvtColor(COLOURED, code), padding)
    assert np.abs(centres(image_to_rgb(message)) - centres(COLOURED)).max() <= 6


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(("bits", "is_bigendian", "order"), [(8, 0, "u1"), (16, 0, "<u2"), (16, 1, ">u2")])
def test_bayer_patterns_are_named_by_their_first_two_rows(pattern, bits, is_bigendian, order):
    channel = np.tile(np.array(["rgb".index(letter) for letter in pattern]).reshape(2, 2), (16, 24))
    mosaic = np.take_along_axis(COLOURED, channel[:, :, None], 2)[:, :, 0].astype(int)
    rows = (mosaic * (257 if bits == 16 else 1)).astype(order)
    message = message_of(f"bayer_{pattern}{bits}", rows, padding=5, is_bigendian=is_bigendian)
    np.testing.assert_array_equal(centres(image_to_rgb(message)), centres(COLOURED))


@pytest.mark.parametrize(("encoding", "order"), [("rgb16", [0, 1, 2]), ("bgra16", [2, 1, 0, 0])])
@pytest.mark.parametrize("is_bigendian", [0, 1])
def test_colours_of_sixteen_bits_are_scaled(encoding, order, is_bigendian):
    rows = (COLOURED[:, :, order].astype(int) * 257).astype(">u2" if is_bigendian else "<u2")
    message = message_of(encoding, rows, padding=7, is_bigendian=is_bigendian)
    np.testing.assert_array_equal(image_to_rgb(message), COLOURED)


def test_a_cv_bridge_that_is_installed_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "cv_bridge.py").write_text("raise RuntimeError('asked')\n")
    monkeypatch.syspath_prepend(tmp_path)
    rows = (COLOURED[:, :, 0].astype(int) * 257).astype("<u2")
    np.testing.assert_array_equal(image_to_rgb(message_of("mono16", rows))[:, :, 1], COLOURED[:, :, 0])
    with pytest.raises(ImageRefusedError, match="names numbers"):
        image_to_rgb(message_of("8UC3", COLOURED))


def compressed(suffix: str, form: str) -> CompressedImage:
    picture = np.full((8, 8, 3), (30, 20, 10), np.uint8)  # cv2 stores blue first
    message = CompressedImage(format=form)
    message.data.frombytes(cv2.imencode(suffix, picture)[1].tobytes())
    return message


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
@pytest.mark.parametrize(
    "form", ["png", "jpeg", "rgb8; jpeg compressed bgr8", "", "rgb8", "bgr8; png compressed bgr8", "JPG", "anything"]
)
def test_the_data_tell_how_they_are_compressed(suffix, form):
    picture = compressed_to_rgb(compressed(suffix, form))
    assert np.abs(picture.astype(int) - (10, 20, 30)).max() <= 3


def test_grey_transparent_and_deep_pictures_become_colours():
    for stored, expected in (
        (np.full((4, 6), 70, np.uint8), (70, 70, 70)),
        (np.full((4, 6, 4), (30, 20, 10, 0), np.uint8), (10, 20, 30)),
        (np.full((4, 6, 3), (30 * 257, 20 * 257, 10 * 257), np.uint16), (10, 20, 30)),
    ):
        message = CompressedImage(format="png")
        message.data.frombytes(cv2.imencode(".png", stored)[1].tobytes())
        assert (compressed_to_rgb(message) == expected).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.97])
def test_a_picture_that_was_cut_off_is_refused(suffix, kept):
    data = cv2.imencode(suffix, np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8))[1].tobytes()
    with pytest.raises(ImageRefusedError, match="do not decode"):
        compressed_to_rgb(CompressedImage(format="jpeg", data=data[: int(kept * len(data))]))


def test_the_end_of_a_small_picture_in_the_header_is_not_that_of_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    whole, small = (cv2.imencode(".jpg", item)[1].tobytes() for item in (picture, picture[:8, :8]))
    header = b"\xff\xe1" + (2 + len(small)).to_bytes(2, "big") + small
    data = whole[:2] + header + whole[2:]
    decoded = compressed_to_rgb(CompressedImage(format="jpeg", data=data))
    np.testing.assert_array_equal(decoded, compressed_to_rgb(CompressedImage(format="jpeg", data=whole)))
    with pytest.raises(ImageRefusedError, match="end too early"):
        compressed_to_rgb(CompressedImage(format="jpeg", data=data[:-200]))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (CompressedImage(format="jpeg"), "the 0 bytes that came do not decode"),
        (CompressedImage(format=""), "the 0 bytes that came do not decode"),
        (CompressedImage(format="jpeg", data=b"no picture"), "the 10 bytes that came do not decode"),
        (CompressedImage(format="h264", data=b"1234"), "expected JPEG or PNG data, the 4 bytes that came do not"),
        (CompressedImage(format="16UC1; compressedDepth png", data=b"1234"), "compressedDepth"),
        (CompressedImage(format="16UC1; png compressed ", data=b"1234"), "expected a picture, got depths"),
    ],
)
def test_what_does_not_decode_is_refused(message, words):
    with pytest.raises(ImageRefusedError) as error:
        compressed_to_rgb(message)
    assert words in str(error.value)


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG file, which says its size, and nothing that could be unpacked."""
    fields = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + len(fields).to_bytes(4, "big") + b"IHDR" + fields + bytes(4)


def jpeg_header(width: int, height: int) -> bytes:
    """The same of a JPEG file, after a segment of metadata."""
    frame = bytes([8]) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([3] + 9 * [1])
    metadata = b"\xff\xe1" + (2 + 300).to_bytes(2, "big") + bytes(300)
    return b"\xff\xd8" + metadata + b"\xff\xc2" + (2 + len(frame)).to_bytes(2, "big") + frame


def tiff_header(width: int, height: int, order: str) -> bytes:
    """The same of a TIFF file, whose directory may be anywhere."""
    entries = [(256, width), (257, height), (277, 3)]
    fields = [
        number.to_bytes(size, order)
        for tag, value in entries
        for number, size in ((tag, 2), (4, 2), (1, 4), (value, 4))
    ]
    magic = b"II*\0" if order == "little" else b"MM\0*"
    return magic + (20).to_bytes(4, order) + bytes(12) + len(entries).to_bytes(2, order) + b"".join(fields) + bytes(4)


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("png", png_header(30_000, 30_000)),
        ("jpeg", jpeg_header(60_000, 60_000)),
        ("tiff", tiff_header(30_000, 30_000, "little")),
        ("tiff", tiff_header(30_000, 30_000, "big")),
    ],
)
def test_picture_that_unpacks_to_gigabytes_is_refused_by_its_header(form, data):
    with pytest.raises(ImageRefusedError, match=r"at most .* pixels, got .*0000"):
        compressed_to_rgb(CompressedImage(format=form, data=data))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_size_of_a_picture_is_read_from_its_header(suffix):
    _, data = cv2.imencode(suffix, np.zeros((7, 300, 3), np.uint8))
    assert picture_size(data.tobytes()) == (7, 300)


def test_other_files_under_the_name_of_a_picture_are_not_decoded():
    _, data = cv2.imencode(".bmp", np.zeros((7, 300, 3), np.uint8))
    with pytest.raises(ImageRefusedError, match="do not decode"):
        compressed_to_rgb(CompressedImage(format="png", data=data.tobytes()))

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
        (image("32FC1", width=1, step=12), "'32FC1'"),
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


def compressed(suffix: str, form: str) -> CompressedImage:
    picture = np.full((8, 8, 3), (30, 20, 10), np.uint8)  # cv2 stores blue first
    message = CompressedImage(format=form)
    message.data.frombytes(cv2.imencode(suffix, picture)[1].tobytes())
    return message


@pytest.mark.parametrize(
    ("suffix", "form"), [(".png", "png"), (".jpg", "jpeg"), (".jpg", "rgb8; jpeg compressed bgr8")]
)
def test_compressed_images_are_decoded_red_first(suffix, form):
    picture = compressed_to_rgb(compressed(suffix, form))
    assert np.abs(picture.astype(int) - (10, 20, 30)).max() <= 3


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (CompressedImage(format="jpeg"), "the 0 bytes that came do not decode"),
        (CompressedImage(format="jpeg", data=b"no picture"), "the 10 bytes that came do not decode"),
        (CompressedImage(format="h264", data=b"1234"), "expected the format jpeg or png, got 'h264'"),
        (CompressedImage(format="16UC1; compressedDepth png", data=b"1234"), "compressedDepth"),
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


@pytest.mark.parametrize(("form", "data"), [("png", png_header(30_000, 30_000)), ("jpeg", jpeg_header(60_000, 60_000))])
def test_picture_that_unpacks_to_gigabytes_is_refused_by_its_header(form, data):
    with pytest.raises(ImageRefusedError, match=r"at most .* pixels, got .*0000"):
        compressed_to_rgb(CompressedImage(format=form, data=data))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_size_of_a_picture_is_read_from_its_header(suffix):
    _, data = cv2.imencode(suffix, np.zeros((7, 300, 3), np.uint8))
    assert picture_size(data.tobytes()[:1000]) == (7, 300)


def test_other_files_under_the_name_of_a_picture_are_not_decoded():
    _, data = cv2.imencode(".bmp", np.zeros((7, 300, 3), np.uint8))
    with pytest.raises(ImageRefusedError, match="do not decode"):
        compressed_to_rgb(CompressedImage(format="png", data=data.tobytes()))

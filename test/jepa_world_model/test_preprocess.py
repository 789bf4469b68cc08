"""From camera frames to encoder input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jepa_world_model.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, normalize_images


def test_a_frame_of_the_mean_colour_becomes_zero():
    colour = np.array(IMAGENET_MEAN) * 255
    images = torch.from_numpy(np.round(np.full((1, 4, 4, 3), colour))).to(torch.uint8)
    expected = ((np.round(colour) / 255 - IMAGENET_MEAN) / IMAGENET_STD).astype(np.float32)
    got = normalize_images(images)
    assert got.shape == (1, 3, 4, 4)
    np.testing.assert_allclose(got[0, :, 2, 1].numpy(), expected, atol=1e-6)


def test_shrinking_averages_the_area():
    checkerboard = np.indices((8, 8)).sum(axis=0) % 2 * 255
    frames = np.repeat(checkerboard[None, :, :, None], 3, axis=-1).astype(np.uint8)
    preprocess = Preprocess(image_size=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    np.testing.assert_allclose(preprocess(frames).numpy(), 0.5, atol=0.01)


def test_the_middle_of_a_wide_frame_is_kept():
    frames = np.zeros((1, 32, 96, 3), np.uint8)
    frames[:, :, 32:64] = 255
    preprocess = Preprocess(image_size=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert preprocess(frames).min() == 1.0


def test_a_larger_short_side_cuts_the_border_off():
    frames = np.zeros((1, 48, 48, 3), np.uint8)
    frames[:, 8:40, 8:40] = 255
    preprocess = Preprocess(32, resize_short_side=48, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert preprocess(frames).min() == 1.0


@pytest.mark.parametrize("size", [(20, 30), (31, 17), (256, 256), (480, 640)])
def test_any_camera_size_gives_the_square_that_the_encoder_takes(size):
    assert Preprocess(image_size=32)(np.zeros((2, *size, 3), np.uint8)).shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 4), np.uint8),
        np.zeros((1, 0, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused_with_what_came(frames):
    with pytest.raises(ValueError, match="expected uint8 frames"):
        Preprocess(image_size=8)(frames)


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="smaller than image_size"):
        Preprocess(image_size=64, resize_short_side=32)

"""From camera frames to encoder input."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from jepa_world_model.official_checkpoints import NetworkShapes, OfficialCheckpoint
from jepa_world_model.official_files import OfficialWeights
from jepa_world_model.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, normalize_images
from jepa_world_model.registry import OFFICIAL_MODELS


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


def official_preprocess(name):
    """What the card of a released model says of its frames."""
    weights = OfficialWeights(Path("released.pt"), {}, ())
    return OfficialCheckpoint(weights, NetworkShapes.of(OFFICIAL_MODELS[name])).card(name).preprocess


def picture(height, width):
    """Noise over a gradient: what bilinear interpolation and averaged areas see differently."""
    generator = np.random.default_rng(height + width)
    gradient = np.linspace(0, 150, height * width).reshape(height, width, 1)
    return (gradient + generator.integers(0, 100, (height, width, 3))).astype(np.uint8)


def published_post_training(frame, size=256):
    """The transform of the published post-training, middle, bilinear, normalised."""
    height, width = frame.shape[:2]
    kept = round(height * 1.35) if width / height > 1.35 else width
    left = (width - kept) // 2
    image = torch.from_numpy(frame[:, left : left + kept]).float().permute(2, 0, 1)[None]
    image = F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False)
    mean, std = (255 * torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / std


def published_evaluation(frame, size):
    """The transform of the published evaluations: short side, rounding down; centre crop; normalised."""
    height, width = frame.shape[:2]
    short = int(size * 256 / 224)
    shape = (short, int(short * height / width)) if width < height else (int(short * width / height), short)
    resized = cv2.resize(frame, shape, interpolation=cv2.INTER_LINEAR)
    left, top = (round((length - size) / 2.0) for length in shape)
    image = torch.from_numpy(resized[top : top + size, left : left + size]).permute(2, 0, 1)[None] / 255.0
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / std


@pytest.mark.parametrize("shape", [(720, 1280), (480, 640), (256, 256), (100, 130)])
def test_frames_for_the_action_conditioned_model_are_squeezed_as_published(shape):
    frame = picture(*shape)
    ours = official_preprocess("vjepa2-ac-vitg")(frame[None])
    torch.testing.assert_close(ours, published_post_training(frame), rtol=0, atol=5e-5)


@pytest.mark.parametrize("shape", [(720, 1280), (480, 640), (854, 480), (293, 517), (100, 130)])
@pytest.mark.parametrize("name", ["vitg", "vjepa2_1_vitl_dist_vitG_384"])
def test_frames_for_video_encoders_are_cropped_as_published(name, shape):
    frame = picture(*shape)
    ours = official_preprocess(name)(frame[None])
    torch.testing.assert_close(ours, published_evaluation(frame, ours.shape[-1]), rtol=0, atol=1e-6)


def test_a_tall_frame_is_cut_to_the_narrowest_aspect():
    frames = np.zeros((1, 400, 150, 3), np.uint8)
    frames[:, 100:300] = 255
    preprocess = Preprocess(64, resize="squeeze", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert preprocess(frames).min() == 1.0


def test_an_unknown_way_of_resizing_is_refused():
    with pytest.raises(ValueError, match="expected a resize of crop, squeeze"):
        Preprocess(resize="stretch")

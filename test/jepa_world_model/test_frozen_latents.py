"""Latents of a frozen encoder: cached or fresh they are the same, and a cache never belongs to another encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import DIM, IMAGE_SIZE, TOKENS, tiny_encoder
from training_data import EPISODES, FRAMES, make_episodes

from jepa_world_model.training import frozen_latents
from jepa_world_model.training.frozen_latents import (
    CachedSource,
    FreshSource,
    StandardizedLatents,
    measured_statistics,
    open_latents,
)
from jepa_world_model.vision_transformer import VisionTransformer

CPU = torch.device("cpu")
SOME = np.array([[0, 0], [3, 3]]), np.array([[1, 2], [0, 5]])


@pytest.fixture(scope="module")
def episodes():
    return make_episodes(0, IMAGE_SIZE)


def test_the_cache_holds_what_the_encoder_says(episodes, tmp_path: Path) -> None:
    cached = open_latents(tiny_encoder(), episodes, tmp_path, CPU, "always")
    fresh = open_latents(tiny_encoder(), episodes, tmp_path, CPU, "never")
    assert isinstance(cached, CachedSource) and isinstance(fresh, FreshSource)
    assert fresh.read(*SOME).shape == (2, 2, TOKENS, DIM)
    torch.testing.assert_close(cached.read(*SOME), fresh.read(*SOME), atol=2e-3, rtol=2e-3)


def test_a_cache_is_read_again_but_not_for_other_weights(episodes, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    for _ in range(2):
        open_latents(encoder, episodes, tmp_path, CPU)
    assert len(list(tmp_path.glob("latents-*.npy"))) == 1
    with torch.no_grad():
        encoder.norm.weight[0] += 1.0
    open_latents(encoder, episodes, tmp_path, CPU)
    assert len(list(tmp_path.glob("latents-*.npy"))) == 2


@pytest.mark.parametrize("source", ["", "files"])
def test_a_cache_is_not_read_for_other_images(episodes, tmp_path: Path, source: str) -> None:
    images = episodes.images.copy()
    images[2, 3, 0, 0] = 99
    other = replace(episodes, images=images, source=source and "other files")
    for data in (replace(episodes, source=source), other):
        cached = open_latents(tiny_encoder(), data, tmp_path, CPU)
        fresh = open_latents(tiny_encoder(), data, tmp_path, CPU, "never")
        where = np.array([2]), np.array([3])
        torch.testing.assert_close(cached.read(*where), fresh.read(*where), atol=2e-3, rtol=2e-3)
    assert len(list(tmp_path.glob("latents-*.npy"))) == 2


def test_a_cache_is_not_read_for_an_encoder_of_another_shape_with_the_same_weights(episodes, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    other = VisionTransformer(replace(encoder.config, num_heads=1)).eval()
    other.load_state_dict(encoder.state_dict())
    for each in (encoder, other):
        open_latents(each, episodes, tmp_path, CPU)
    assert len(list(tmp_path.glob("latents-*.npy"))) == 2


def test_what_does_not_fit_is_not_cached(episodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_latents.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    assert isinstance(open_latents(tiny_encoder(), episodes, tmp_path, CPU), FreshSource)
    assert list(tmp_path.iterdir()) == []


def test_no_more_is_read_together_than_the_memory_takes(
    episodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_latents, "_VALUES_IN_MEMORY", (2 * FRAMES + 1) * TOKENS * DIM)
    source = open_latents(tiny_encoder(), episodes, tmp_path, CPU)
    latents = StandardizedLatents(source, episodes, measured_statistics(source, episodes))
    assert latents.whole().shape[0] == 2


def test_latents_are_standardised_over_the_data(episodes, tmp_path: Path) -> None:
    source = open_latents(tiny_encoder(), episodes, tmp_path, CPU)
    latents = StandardizedLatents(source, episodes, measured_statistics(source, episodes))
    whole = latents.whole()
    assert whole.shape == (EPISODES, FRAMES, TOKENS, DIM) and whole.dtype == torch.float16
    assert float(whole.float().mean()) == pytest.approx(0.0, abs=1e-2)
    clip = latents[torch.tensor([[2]]), torch.tensor([[1, 3]])]
    torch.testing.assert_close(clip[0], whole[2, [1, 3]].float(), atol=2e-2, rtol=1e-2)


def test_a_full_disk_leaves_no_half_cache(episodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(frozen_latents.np.lib.format, "open_memmap", full)
        open_latents(tiny_encoder(), episodes, tmp_path, CPU, "always")
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".npy"]
    assert isinstance(open_latents(tiny_encoder(), episodes, tmp_path, CPU, "always"), CachedSource)

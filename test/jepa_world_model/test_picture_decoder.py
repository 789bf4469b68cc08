"""A decoder shows latents as pictures, is part of the checkpoint, and changes nothing that plans."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import DIM, IMAGE_SIZE, TOKENS, tiny_card, tiny_encoder, tiny_predictor
from training_data import make_episodes, save_episodes

from jepa_world_model.checkpoint import CheckpointError, add_decoder, open_world_model, save_world_model
from jepa_world_model.picture_decoder import PictureDecoder, PictureDecoderConfig
from jepa_world_model.safetensors_file import TensorSlot, stored_slots, write_tensors
from jepa_world_model.safetensors_header import read_metadata
from jepa_world_model.training.loop import LoopConfig
from jepa_world_model.training.picture_quality import psnr, ssim
from jepa_world_model.training.train_decoder import DecoderShape, TrainDecoderConfig, train_decoder
from jepa_world_model.world_model import WorldModel

SHAPE = PictureDecoderConfig(TOKENS, DIM, width=32, depth=1, heads=2, channels=8)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "tiny.safetensors"
    statistics = torch.full((TOKENS, DIM), 0.1), torch.full((TOKENS, DIM), 2.0)
    save_world_model(path, tiny_encoder(), tiny_predictor(), tiny_card(), {"seed": 0}, *statistics)
    return path


def decoder(seed: int = 0) -> PictureDecoder:
    torch.manual_seed(seed)
    return PictureDecoder(SHAPE).eval()


def test_a_decoder_leaves_name_version_and_every_other_tensor_as_they_were(checkpoint):
    before, weights = open_world_model(checkpoint), load_file(checkpoint)
    for seed in (0, 1):  # the second takes the place of the first
        card = add_decoder(open_world_model(checkpoint), checkpoint, decoder(seed), {"seed": seed})
        after, now = open_world_model(checkpoint), load_file(checkpoint)
        assert card == after.card == before.card
        assert after.decoder_provenance == {"seed": seed} and after.provenance == before.provenance
        assert {name for name in now if not name.startswith("decoder.")} == set(weights)
        assert all(torch.equal(now[name], weights[name]) for name in weights)
        assert torch.equal(now["decoder.place"], decoder(seed).place)
    index = json.loads((checkpoint.parent / "index.json").read_text())["tiny.safetensors"]
    assert index["version"] == before.card.version


def test_other_weights_make_another_version_with_a_decoder_as_without(checkpoint, tmp_path):
    add_decoder(open_world_model(checkpoint), checkpoint, decoder(), {})
    other = tmp_path / "other.safetensors"
    save_world_model(other, tiny_encoder(), tiny_predictor(seed=1), tiny_card(), {})
    add_decoder(open_world_model(other), other, decoder(), {})
    assert open_world_model(other).card.version != open_world_model(checkpoint).card.version


def test_a_decoder_is_loaded_where_it_is_asked_for_and_missed_where_it_is_needed(checkpoint):
    latents = torch.randn(2, 3, TOKENS, DIM)
    without = WorldModel.load(checkpoint, parts=("encoder", "predictor", "decoder"))
    assert without.decoder is None
    with pytest.raises(CheckpointError, match="train-decoder"):
        without.pictures(latents)
    add_decoder(open_world_model(checkpoint), checkpoint, decoder(), {})
    assert WorldModel.load(checkpoint).decoder is None
    drawn = WorldModel.load(checkpoint, parts=("decoder",)).pictures(latents)
    assert drawn.shape == (2, 3, 64, 64, 3) and drawn.dtype == np.uint8
    model = WorldModel.load(checkpoint, parts=("decoder",))
    assert np.abs(model.pictures(latents[1, 2]).astype(int) - drawn[1, 2]).max() <= 1  # rounding
    expected = decoder()(latents[1, 2][None])[0].clamp(0, 1).permute(1, 2, 0) * 255
    assert np.abs(drawn[1, 2] - expected.detach().numpy()).max() <= 0.51


def test_energies_and_latents_are_the_same_with_a_decoder(checkpoint):
    frames = make_episodes(0, IMAGE_SIZE).images[0, :1]
    before = WorldModel.load(checkpoint)
    add_decoder(open_world_model(checkpoint), checkpoint, decoder(), {})
    after = WorldModel.load(checkpoint, parts=("encoder", "predictor", "decoder"))
    latent = before.encode(frames)
    assert torch.equal(latent, after.encode(frames))
    actions = np.full((2, 1, 7), 0.1, np.float32)
    arguments = (latent, np.zeros((1, 7), np.float32), actions, latent[0])
    assert torch.equal(before.energy(*arguments), after.energy(*arguments))


def test_a_decoder_for_other_latents_is_refused(checkpoint):
    other = PictureDecoder(replace(SHAPE, dim=DIM + 1))
    with pytest.raises(CheckpointError, match=f"latents {TOKENS} x {DIM}, the decoder takes {TOKENS} x {DIM + 1}"):
        add_decoder(open_world_model(checkpoint), checkpoint, other, {})
    with pytest.raises(ValueError, match="no square"):
        PictureDecoderConfig(tokens=15, dim=DIM)


def test_a_decoder_whose_weights_are_not_finite_is_refused(checkpoint):
    broken = decoder()
    broken.place.data[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=r"decoder\.place"):
        add_decoder(open_world_model(checkpoint), checkpoint, broken, {})
    assert open_world_model(checkpoint).decoder_config is None


def test_weights_behind_the_decoders_would_not_count_and_are_refused(checkpoint):
    slots = {f"decoder.{name}": TensorSlot.of(tensor) for name, tensor in decoder().state_dict().items()}
    write_tensors(checkpoint, slots | stored_slots(checkpoint), read_metadata(checkpoint))
    (checkpoint.parent / "index.json").unlink()
    with pytest.raises(CheckpointError, match="at its end"):
        open_world_model(checkpoint)


def test_quality_of_equal_and_of_shifted_pictures():
    picture = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert ssim(picture, picture) == pytest.approx([1.0, 1.0])
    assert psnr(picture, picture + 0.1) == pytest.approx([20.0, 20.0], abs=1e-3)
    assert (ssim(picture, picture.flip(-1)) < 0.3).all()


def settings(checkpoint, tmp_path, steps=150):
    return TrainDecoderConfig(
        model=str(checkpoint),
        data=save_episodes(tmp_path / "data", shards=2, size=IMAGE_SIZE),
        out=tmp_path / "run",
        frames=96,
        held_out_frames=32,
        shape=DecoderShape(width=32, depth=1, heads=2, channels=8),
        loop=LoopConfig(steps=steps, learning_rate=5e-3, warmup_steps=5, save_every=1000),
    )


def test_training_adds_a_decoder_that_draws_held_out_frames(checkpoint, tmp_path, capsys):
    version = open_world_model(checkpoint).card.version
    assert train_decoder(settings(checkpoint, tmp_path)) == checkpoint
    file = open_world_model(checkpoint)
    assert file.card.version == version
    quality = file.decoder_provenance
    assert quality["held_out"]["psnr_db"] > quality["mean_picture"]["psnr_db"] + 3
    assert quality["held_out"]["ssim"] > quality["mean_picture"]["ssim"]
    assert quality["held_out"]["feature_error"] < quality["mean_picture"]["feature_error"]
    assert f"PSNR {quality['held_out']['psnr_db']:.1f} dB" in capsys.readouterr().out
    model = WorldModel.load(checkpoint, parts=("encoder", "decoder"))
    frames = make_episodes(7, IMAGE_SIZE).images[0]
    drawn = model.pictures(model.encode(frames)).astype(int)
    own = np.abs(drawn - frames).mean(axis=(1, 2, 3))
    others = np.abs(drawn - np.roll(frames, 1, axis=0)).mean(axis=(1, 2, 3))
    assert (own < others).mean() > 0.8


def test_an_interrupted_training_goes_on_and_writes_elsewhere_if_asked(checkpoint, tmp_path):
    before = checkpoint.read_bytes()
    target = tmp_path / "shown" / "tiny.safetensors"
    config = replace(settings(checkpoint, tmp_path, steps=3), checkpoint=target)
    first = train_decoder(config)
    again = load_file(first)
    assert train_decoder(config) == target and checkpoint.read_bytes() == before
    assert all(torch.equal(tensor, again[name]) for name, tensor in load_file(target).items())


def test_a_file_that_is_no_checkpoint_of_this_package_is_refused(tmp_path):
    released = tmp_path / "vitl.pt"
    torch.save({"encoder": {}}, released)
    with pytest.raises(CheckpointError, match="jepa convert"):
        train_decoder(TrainDecoderConfig(str(released), tmp_path))

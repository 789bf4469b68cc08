"""World models on disk: what is written comes back, and what is damaged is refused with a reason."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny_models import tiny_card, tiny_encoder, tiny_predictor

from jepa_world_model.checkpoint import CheckpointError, open_world_model, save_world_model
from jepa_world_model.world_model import WorldModel


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "tiny.safetensors"
    mean, std = torch.randn(16, 48), torch.rand(16, 48) + 0.5
    encoder, predictor = tiny_encoder(), tiny_predictor()
    card = save_world_model(path, encoder, predictor, tiny_card(), {"seed": 3}, mean, std)
    return path, encoder, predictor, card, (mean, std)


def test_a_saved_world_model_comes_back_whole(saved):
    path, encoder, predictor, card, statistics = saved
    file, model = open_world_model(path), WorldModel.load(path)
    assert file.provenance == {"seed": 3}
    assert model.card == card
    assert (model.encoder.config, model.predictor.config) == (encoder.config, predictor.config)
    for module, loaded in ((encoder, model.encoder), (predictor, model.predictor)):
        torch.testing.assert_close(loaded.state_dict(), module.state_dict(), atol=0, rtol=0)
    torch.testing.assert_close(model.statistics, statistics, atol=0, rtol=0)
    assert not any(parameter.requires_grad for parameter in model.predictor.parameters())


def test_a_metric_comes_back_and_measures_energies(tmp_path):
    metric = torch.randn(5, 16 * 48)
    card = tiny_card(distance="metric")
    save_world_model(tmp_path / "tiny.safetensors", tiny_encoder(), tiny_predictor(), card, {}, None, None, metric)
    model = WorldModel.load(tmp_path / "tiny.safetensors")
    first, second = torch.randn(16, 48), torch.randn(16, 48)
    torch.testing.assert_close(model.distance(first, second), (metric @ (first - second).flatten()).norm())
    torch.testing.assert_close(model.distance(first, second, "l1"), (first - second).abs().mean())


def test_the_version_follows_the_weights_and_not_the_card(saved, tmp_path):
    _, encoder, predictor, card, _ = saved
    again = save_world_model(tmp_path / "again.safetensors", encoder, predictor, replace(card, reach_energy=0.3), {})
    bare = save_world_model(tmp_path / "bare.safetensors", encoder, predictor, card, {})
    with torch.no_grad():
        predictor.predictor_proj.bias.add_(1e-3)
    changed = save_world_model(tmp_path / "changed.safetensors", encoder, predictor, card, {})
    assert again.version == bare.version != changed.version
    assert again.model_id == f"tiny@{again.version}"
    assert len(again.version) == 12


def test_only_the_wanted_part_is_loaded(saved):
    path, *_ = saved
    assert WorldModel.load(path, parts=("encoder",)).predictor is None
    assert WorldModel.load(path, parts=("predictor",)).encoder is None
    with pytest.raises(ValueError, match="expected parts"):
        WorldModel.load(path, parts=("head",))


def test_a_model_in_another_precision_has_all_its_weights_in_it(saved):
    model = WorldModel.load(saved[0], dtype="bfloat16")
    assert {parameter.dtype for parameter in model.predictor.parameters()} == {torch.bfloat16}
    with pytest.raises(ValueError, match="expected a dtype"):
        WorldModel.load(saved[0], dtype="int8")


def test_a_truncated_file_is_refused(saved):
    path = saved[0]
    whole = path.read_bytes()
    for size in (0, 5, 200, len(whole) - 1000):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"copy|convert"):
            open_world_model(path)


def test_a_file_that_changed_after_it_was_written_is_refused(saved):
    path = saved[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="changed after it was written"):
        open_world_model(path)


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(saved, tmp_path):
    path, encoder, predictor, card, _ = saved
    content = bytearray(path.read_bytes())
    content[-4:] = b"\x00\x00\xc0\x7f"  # a NaN, little endian
    path.write_bytes(content)
    path.with_name("index.json").unlink()
    with pytest.raises(CheckpointError, match="NaN"):
        WorldModel.load(path)
    with torch.no_grad():
        predictor.predictor_norm.weight[0] = float("nan")
    with pytest.raises(CheckpointError, match=r"predictor\.predictor_norm\.weight"):
        save_world_model(tmp_path / "nan.safetensors", encoder, predictor, card, {})


def _rewrite_header(path, change):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    path.with_name("index.json").unlink()


def test_a_missing_tensor_is_named(saved):
    path = saved[0]

    def rename(header):
        header["predictor.other"] = header.pop("predictor.predictor_norm.weight")

    _rewrite_header(path, rename)
    with pytest.raises(CheckpointError, match=r"predictor_norm\.weight is missing; other is unexpected"):
        WorldModel.load(path)


def test_a_shape_that_does_not_fit_the_weights_is_refused(saved):
    path = saved[0]

    def widen(header):
        metadata = header["__metadata__"]
        metadata["predictor"] = metadata["predictor"].replace('"predictor_dim": 64', '"predictor_dim": 128')

    _rewrite_header(path, widen)
    with pytest.raises(CheckpointError, match="belongs"):
        WorldModel.load(path)


def test_a_configuration_of_another_version_is_refused(saved):
    path = saved[0]

    def add(header):
        metadata = header["__metadata__"]
        metadata["encoder"] = metadata["encoder"].replace('"depth"', '"registers": 4, "depth"')

    _rewrite_header(path, add)
    with pytest.raises(CheckpointError, match="registers"):
        open_world_model(path)


def test_a_name_that_is_unknown_lists_the_known_ones():
    with pytest.raises(CheckpointError, match="known names"):
        WorldModel.load("no-such-checkpoint")


def test_an_interrupted_write_leaves_nothing_under_the_name(tmp_path):
    predictor = tiny_predictor()
    with pytest.raises(CheckpointError, match="neither"):
        save_world_model(tmp_path / "a.safetensors", None, None, tiny_card(), {})
    predictor.register_buffer("steps", torch.zeros(1, dtype=torch.int32))
    with pytest.raises(CheckpointError, match="can be stored"):
        save_world_model(tmp_path / "b.safetensors", None, predictor, tiny_card(), {})
    assert list(tmp_path.iterdir()) == []

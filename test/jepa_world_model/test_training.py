"""Training: the loss terms, the clips, exact resume, and the way from episodes to a checkpoint that loads."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from training_data import make_episodes, save_episodes

from jepa_world_model.data.episodes import ClipSampler, DatasetError, load_episodes
from jepa_world_model.training.energy_metric import MetricConfig
from jepa_world_model.training.engine import Engine
from jepa_world_model.training.joint import JointConfig
from jepa_world_model.training.loop import LoopConfig, learning_rate_share
from jepa_world_model.training.post_train import PostTrainConfig
from jepa_world_model.training.predictor_run import PredictorShape
from jepa_world_model.training.pretrain import EncoderShape, PretrainConfig, pretrain
from jepa_world_model.training.probe import linear_probe
from jepa_world_model.training.run_folder import CONFIG_FILE, RunFolderError
from jepa_world_model.training.sigreg import random_directions, sigreg
from jepa_world_model.training.train import TrainConfig, train
from jepa_world_model.world_model import WorldModel

SIZE = 32


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_episodes(tmp_path_factory.mktemp("episodes"))


def test_sigreg_tells_a_gaussian_from_a_collapsed_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = random_directions(16, 64, generator)
    gaussian = sigreg(torch.randn(512, 16, generator=generator), directions)
    collapsed = sigreg(torch.zeros(512, 16), directions)
    assert gaussian < 2.0
    assert collapsed > 50 * gaussian


def test_a_clip_depends_on_seed_and_step_alone() -> None:
    episodes = make_episodes(0)
    first, second = (ClipSampler(episodes, clip_frames=3, batch=5, seed=7) for _ in range(2))
    second.clips(0)
    np.testing.assert_array_equal(first.clips(4).images, second.clips(4).images)
    assert not np.array_equal(first.clips(4).states, first.clips(5).states)


def test_a_folder_without_shards_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="jepa collect"):
        load_episodes(tmp_path)


def test_a_shard_with_non_finite_states_is_refused(tmp_path: Path) -> None:
    episodes = make_episodes(0)
    states = episodes.states.copy()
    states[0, 0, 0] = np.nan
    np.savez(tmp_path / "shard_00000.npz", images=episodes.images, states=states, actions=episodes.actions)
    with pytest.raises(DatasetError, match="not finite"):
        load_episodes(tmp_path)


def test_the_learning_rate_warms_up_then_falls() -> None:
    config = LoopConfig(steps=100, warmup_steps=10, learning_rate=1.0, final_fraction=0.1)
    rates = [learning_rate_share(config, step) for step in range(100)]
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.1, abs=1e-2)


def pretrain_config(dataset: Path, out: Path, steps: int, stop_after: int | None = None) -> PretrainConfig:
    """A run small enough for a test."""
    loop = LoopConfig(steps=steps, warmup_steps=2, save_every=stop_after or steps, log_every=1)
    shape, heads = EncoderShape(dim=32, depth=1, heads=2), JointConfig(latent_dim=16, hidden_dim=16)
    return PretrainConfig(dataset, out, encoder=shape, joint=heads, loop=loop, batch=4, clip_frames=3, max_stride=2)


class InterruptionError(Exception):
    """Stands for Ctrl-C at a given step."""


def test_an_interrupted_run_goes_on_to_the_same_weights(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torch.load(pretrain(pretrain_config(dataset, tmp_path / "whole", 6, 3)), weights_only=True)
    advance = Engine._advance

    def interrupted(run: Engine, batch: object) -> object:
        if run.step == 5:
            raise InterruptionError
        return advance(run, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_advance", interrupted)
        with pytest.raises(InterruptionError):
            pretrain(pretrain_config(dataset, tmp_path / "parts", 6, 3))
    resumed = torch.load(pretrain(pretrain_config(dataset, tmp_path / "parts", 6, 3)), weights_only=True)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0.0, atol=0.0)


def test_another_number_of_steps_does_not_continue_a_run(dataset: Path, tmp_path: Path) -> None:
    pretrain(pretrain_config(dataset, tmp_path / "run", 2))
    with pytest.raises(RunFolderError, match=r"loop\.steps.*another output folder"):
        pretrain(pretrain_config(dataset, tmp_path / "run", 3))


def change_a_picture(folder: Path, shard: str = "shard_00001.npz") -> None:
    """Of one frame, in place; states and sizes stay."""
    with np.load(folder / shard) as arrays:
        kept = dict(arrays)
    kept["images"][3, 2, 0, 0] = 99
    np.savez(folder / shard, **kept)


@pytest.mark.parametrize("name", ["data", "validation"])
def test_a_run_does_not_go_on_with_data_that_changed_in_place(dataset: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(dataset, tmp_path / "changing")
    folders = {"data": dataset, "validation": dataset} | {name: tmp_path / "changing"}
    config = replace(pretrain_config(dataset, tmp_path / "run", 2), **folders)
    pretrain(config)
    change_a_picture(tmp_path / "changing")
    with pytest.raises(RunFolderError, match=f"began with other contents of {name}:"):
        pretrain(config)


def test_a_run_goes_on_with_data_that_only_moved(dataset: Path, tmp_path: Path) -> None:
    pretrain(pretrain_config(dataset, tmp_path / "run", 2))
    shutil.copytree(dataset, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    pretrain(pretrain_config(tmp_path / "elsewhere", tmp_path / "run", 2))
    save_episodes(tmp_path / "elsewhere", shards=3)
    with pytest.raises(RunFolderError, match="other contents of data"):
        pretrain(pretrain_config(tmp_path / "elsewhere", tmp_path / "run", 2))


def test_pretraining_does_not_go_on_from_other_initial_weights(dataset: Path, tmp_path: Path) -> None:
    first, other = (pretrain_config(dataset, tmp_path / name, 2) for name in ("first", "other"))
    pretrain(first)
    pretrain(replace(other, seed=1))
    config = replace(pretrain_config(dataset, tmp_path / "run", 2), initial=tmp_path / "first")
    pretrain(config)
    (tmp_path / "other" / "encoder.pt").replace(tmp_path / "first" / "encoder.pt")
    with pytest.raises(RunFolderError, match="other contents of initial"):
        pretrain(config)


def test_a_setting_that_an_older_run_did_not_write_down_had_its_default(dataset: Path, tmp_path: Path) -> None:
    config = pretrain_config(dataset, tmp_path / "run", 2)
    pretrain(config)
    written = yaml.safe_load((tmp_path / "run" / CONFIG_FILE).read_text())
    del written["vjepa"], written["loop"]["precision"]
    (tmp_path / "run" / CONFIG_FILE).write_text(yaml.safe_dump(written))
    pretrain(config)
    with pytest.raises(RunFolderError, match=r"loop\.precision"):
        pretrain(replace(config, loop=replace(config.loop, precision="bf16")))


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [(3, 179.0, "angles beyond pi"), (6, 100.0, "between 0 and 100"), (0, 412.0, "reach 412")],
)
def test_a_shard_in_other_units_is_refused(tmp_path: Path, column: int, value: float, words: str) -> None:
    episodes = make_episodes(0)
    states = episodes.states.copy()
    states[..., column] = np.linspace(0, value, states.shape[1])
    np.savez(tmp_path / "shard_00000.npz", images=episodes.images, states=states, actions=episodes.actions)
    with pytest.raises(DatasetError, match=words):
        load_episodes(tmp_path)


def test_the_probe_reads_positions_that_the_latents_carry() -> None:
    generator = torch.Generator().manual_seed(0)
    latents, mixing = torch.randn(200, 4, 3, generator=generator), torch.randn(12, 3, generator=generator)
    positions = 0.1 * latents.flatten(1) @ mixing
    probe = linear_probe(latents[:150], positions[:150], latents[150:], positions[150:], ridge=1e-4)
    assert probe.median_cm < 0.1


def test_two_commands_lead_from_episodes_to_a_checkpoint_that_loads(dataset: Path, tmp_path: Path) -> None:
    pretrain(pretrain_config(dataset, tmp_path / "encoder", 4))
    config = TrainConfig(
        data=dataset,
        validation=dataset,
        encoder_run=tmp_path / "encoder",
        out=tmp_path / "predictor",
        checkpoint=tmp_path / "tiny.safetensors",
        encoder=EncoderShape(dim=32, depth=1, heads=2),
        predictor=PredictorShape(dim=32, depth=1, heads=2),
        metric=MetricConfig(gripper_weight=0.02),
        post=PostTrainConfig(batch=4, max_stride=2),
        loop=LoopConfig(steps=4, warmup_steps=1, log_every=2),
    )
    world_model = WorldModel.load(train(config))
    assert world_model.card.gripper_weight_m == 0.02
    assert (world_model.card.image_size, world_model.card.tokens, world_model.card.dim) == (SIZE, 4, 32)
    assert world_model.card.reach_energy is not None
    latents = world_model.encode(make_episodes(3).images[0])
    energies = world_model.energy(latents[:1], np.zeros((1, 7)), np.zeros((5, 2, 7)), latents[1])
    assert energies.shape == (5,)
    assert torch.isfinite(energies).all()
    # The same checkpoint from another encoder would be a mixture.
    weights = torch.load(tmp_path / "encoder" / "encoder.pt", weights_only=True)
    torch.save({name: value + 0.01 for name, value in weights.items()}, tmp_path / "encoder" / "encoder.pt")
    with pytest.raises(RunFolderError, match="other contents of encoder_run"):
        train(config)

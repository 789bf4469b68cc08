"""The training engine: several processes match one, bad batches, interruptions and full disks cost nothing."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn
from training_data import save_episodes

from jepa_world_model.training.distributed import Part
from jepa_world_model.training.encoder_run import EncoderShape, encoder_config, save_run_encoder
from jepa_world_model.training.engine import Engine
from jepa_world_model.training.joint import JointConfig
from jepa_world_model.training.loop import LoopConfig, TrainingError, learning_rate_share
from jepa_world_model.training.monitor import MonitorConfig
from jepa_world_model.training.post_objective import PostObjectiveConfig, disturbed
from jepa_world_model.training.post_train import LatentClips, PostTrainConfig
from jepa_world_model.training.predictor_run import PredictorShape
from jepa_world_model.training.pretrain import PretrainConfig, pretrain
from jepa_world_model.training.run_folder import RunFolderError, claim, save_tensors
from jepa_world_model.training.train import TrainConfig, train
from jepa_world_model.training.vjepa import VJepaConfig
from jepa_world_model.vision_transformer import VisionTransformer
from jepa_world_model.world_model import WorldModel


def run_of(name: str, folder: Path, out: Path, steps: int, save_every: int = 5) -> Path:
    """One of the product's runs, small enough for a test, with terms over the whole batch: joint, vjepa or train."""
    loop = LoopConfig(steps=steps, warmup_steps=2, save_every=save_every, log_every=1)
    return train(train_config(folder, out, loop)) if name == "train" else pretrain(run_config(folder, out, name, loop))


def run_config(folder: Path, out: Path, objective: str, loop: LoopConfig = LoopConfig(steps=2)) -> PretrainConfig:  # noqa: B008
    masked = VJepaConfig(
        frames=2, predictor_dim=16, predictor_depth=1, predictor_heads=2, sigreg_weight=0.1, covariance_weight=0.1
    )
    return PretrainConfig(
        folder / "data",
        out,
        objective=objective,  # type: ignore[arg-type]
        encoder=SHAPE,
        joint=JointConfig(latent_dim=16, hidden_dim=16),
        vjepa=replace(masked, projection_dim=8),
        monitor=MonitorConfig(every=0, frames=24, least_std=0.0, least_rank=0.0),
        loop=loop,
        batch=4,
        max_stride=2,
    )


def train_config(folder: Path, out: Path, loop: LoopConfig) -> TrainConfig:
    return TrainConfig(
        data=folder / "data",
        validation=folder / "data",
        encoder_run=folder / "encoder",
        out=out,
        checkpoint=out / "tiny.safetensors",
        predictor=PredictorShape(dim=32, depth=1, heads=2, conditioning="adaln"),
        post=PostTrainConfig(batch=4, max_stride=1),
        told=PostObjectiveConfig(state_dropout=0.5, action_noise_m=0.01),
        loop=loop,
    )


SHAPE = EncoderShape(dim=32, depth=1, heads=2)
STEPS = 20


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the processes that are started here: sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and a random encoder."""
    path = tmp_path_factory.mktemp("engine")
    save_episodes(path / "data", size=48)
    torch.manual_seed(0)
    (path / "encoder").mkdir()
    save_run_encoder(path / "encoder", VisionTransformer(encoder_config(SHAPE, 48)))
    return path


# --- processes ----------------------------------------------------------------------------------------------

_PROGRAM = """
import pathlib, resource, sys
sys.path.insert(0, {tests!r})
import torch
from test_training_engine import run_of
torch.set_num_threads(1)
name, folder, out, steps, largest_file = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file), resource.RLIM_INFINITY))
run_of(name, pathlib.Path(folder), pathlib.Path(out), int(steps))
"""


def program(name: str, folder: Path, out: Path, steps: int = STEPS, largest_file: int = -1) -> list[str]:
    """Script and arguments of a run in a process of its own."""
    script = folder / "run.py"
    script.write_text(_PROGRAM.format(tests=str(Path(__file__).parent)))
    return [str(script), name, str(folder), str(out), str(steps), str(largest_file)]


def logged(out: Path) -> list[dict[str, float]]:
    """Losses by step, without what the monitor saw."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


@pytest.mark.parametrize("name", ["joint", "vjepa", "train"])
def test_two_processes_match_one(folder: Path, tmp_path: Path, name: str) -> None:
    run_of(name, folder, tmp_path / "one", steps=4)
    # What `accelerate launch` starts for graphics cards; on processors it would need MPI.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, *program(name, folder, tmp_path / "two", 4)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr[-2000:]
    one, two = logged(tmp_path / "one"), logged(tmp_path / "two")
    assert [line["step"] for line in two] == [1, 2, 3, 4]
    for mine, theirs in zip(one, two, strict=True):
        assert theirs == pytest.approx(mine, rel=2e-4, abs=1e-5)
    assert len(torch.load(tmp_path / "two" / "state.pt", weights_only=True)["generators"]) == 2


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="5 does not divide among 2"):
        Part(0, 2).rows(5)


# --- interruptions ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> Callable[[str], dict[str, Tensor]]:
    """The weights that a run of a name ends with when nothing happens."""

    @functools.cache
    def weights(name: str) -> dict[str, Tensor]:
        run_of(name, folder, folder / name, STEPS)
        return torch.load(folder / name / "state.pt", weights_only=True)["module"]

    return weights


def assert_goes_on(name: str, folder: Path, out: Path, expected: dict[str, Tensor]) -> None:
    """The run in `out` goes on, to the same weights and a log without gaps or repetitions."""
    run_of(name, folder, out, STEPS)
    assert [line["step"] for line in logged(out)] == list(range(1, STEPS + 1))
    for key, value in torch.load(out / "state.pt", weights_only=True)["module"].items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize(("name", "how"), [("vjepa", signal.SIGINT), ("train", signal.SIGKILL)])
def test_an_interrupted_run_loses_at_most_one_interval_and_goes_on_to_the_same_weights(
    folder: Path,
    tmp_path: Path,
    uninterrupted: Callable[[str], dict[str, Tensor]],
    name: str,
    how: signal.Signals,
) -> None:
    out, expected = tmp_path / "run", uninterrupted(name)
    with subprocess.Popen(
        [sys.executable, *program(name, folder, out)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        wait_for(lambda: (out / "state.pt").exists(), process)
        process.send_signal(how)
        process.communicate(timeout=300)
        assert process.returncode != 0
    done = len(logged(out))
    step = torch.load(out / "state.pt", weights_only=True)["step"]
    assert done < STEPS, "it was interrupted, not finished"
    assert done - step <= (0 if how is signal.SIGINT else 5)
    assert_goes_on(name, folder, out, expected)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)


def test_a_full_disk_costs_nothing_but_the_time(
    folder: Path, tmp_path: Path, uninterrupted: Callable[[str], dict[str, Tensor]]
) -> None:
    name = "vjepa"
    out, expected = tmp_path / "run", uninterrupted(name)
    # Larger than the configuration and the log, smaller than the state.
    command = [sys.executable, *program(name, folder, out, largest_file=20_000)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode != 0
    assert "disk full" in ended.stderr or "File too large" in ended.stderr, ended.stderr[-1000:]
    assert not [path for path in out.iterdir() if path.suffix in (".pt", ".npy", ".partial")]
    assert_goes_on(name, folder, out, expected)


def test_a_failed_write_leaves_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_tensors(path, {"step": 1})
    with pytest.raises(TypeError, match="pickle"):
        save_tensors(path, {"step": (number for number in range(3))})
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


# --- what the predictor is told ---------------------------------------------------------------------------


def test_noise_and_dropout_change_what_they_name_and_nothing_else() -> None:
    clips = LatentClips(torch.rand(3, 2, 4, 8), torch.rand(3, 2, 7), torch.rand(3, 1, 7))
    config = PostObjectiveConfig(state_dropout=0.5, action_noise_m=0.1)
    noise, dropped = np.ones((3, 1, 7)), np.array([False, True, False])
    told = disturbed(clips, config, torch.full((7,), 9.0), noise, dropped)
    assert torch.equal(told.latents, clips.latents)
    assert torch.equal(told.states[[0, 2]], clips.states[[0, 2]]) and bool((told.states[1] == 9.0).all())
    change = (told.actions - clips.actions).flatten(0, 1)
    torch.testing.assert_close(change, torch.tensor([[0.1, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0]]).expand(3, -1))


# --- steps --------------------------------------------------------------------------------------------------


class BadBatches:
    """Fits a number; the batches of some steps are not finite."""

    def __init__(self, bad: set[int]) -> None:
        self.module = self.kept = nn.Linear(1, 1)
        self._bad = bad
        self.updates = 0

    def batch(self, step: int, part: Part) -> Tensor:
        return torch.full((1, 1), float("nan") if step in self._bad else 1.0)

    def losses(self, module: nn.Module, batch: Tensor, device: torch.device) -> dict[str, Tensor]:
        return {"loss": module(batch).square().mean()}

    def after_update(self) -> None:
        self.updates += 1


def test_a_bad_batch_is_left_out(tmp_path: Path) -> None:
    objective = BadBatches({2, 3})
    Engine(objective, LoopConfig(steps=6, bad_steps=2), tmp_path).run("test")
    assert objective.updates == 4
    assert all(torch.isfinite(parameter).all() for parameter in objective.module.parameters())


def test_bad_batches_in_a_row_end_the_run_and_keep_the_state(tmp_path: Path) -> None:
    engine = Engine(BadBatches(set(range(4, 20))), LoopConfig(steps=20, bad_steps=2, save_every=4), tmp_path)
    with pytest.raises(TrainingError, match="3 steps in a row"):
        engine.run("test")
    assert torch.load(engine.state_path, weights_only=True)["step"] == 4


def test_generators_are_resumed(tmp_path: Path) -> None:
    class Noisy(BadBatches):
        def losses(self, module: nn.Module, batch: Tensor, device: torch.device) -> dict[str, Tensor]:
            return {"loss": (module(batch) - torch.randn(1)).square().mean()}

    def weights(folder: Path, *stops: int) -> Tensor:
        for steps_done in stops:
            torch.manual_seed(0)
            objective = Noisy(set())
            engine = Engine(objective, LoopConfig(steps=6, warmup_steps=1, save_every=3), folder)
            while engine.step < steps_done:
                engine._advance(objective.batch(engine.step, Part()))
                engine.step += 1
            engine.save()
        return objective.module.weight.detach()

    assert torch.equal(weights(tmp_path / "whole", 6), weights(tmp_path / "parts", 3, 6))


def test_the_rate_is_held_and_then_cools_down() -> None:
    config = LoopConfig(steps=100, warmup_steps=10, cooldown_steps=20, learning_rate=1.0, final_fraction=0.1)
    rates = [learning_rate_share(config, step) for step in range(100)]
    assert rates[10:80] == [1.0] * 70
    assert rates[80] < 1.0
    assert rates[99] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="do not fit"):
        LoopConfig(steps=100, warmup_steps=90, cooldown_steps=20)


def test_a_run_keeps_its_configuration_and_refuses_another(folder: Path, tmp_path: Path) -> None:
    config = run_config(folder, tmp_path, "joint")
    claim(tmp_path, config)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["joint"]["latent_dim"] == 16
    claim(tmp_path, replace(config, data=Path("elsewhere")))
    with pytest.raises(RunFolderError, match=r"batch, joint\.latent_dim"):
        claim(tmp_path, replace(config, batch=8, joint=JointConfig(latent_dim=32, hidden_dim=16)))


def test_a_predictor_without_states_goes_by_the_pictures_alone(folder: Path, tmp_path: Path) -> None:
    config = train_config(folder, tmp_path / "blind", LoopConfig(steps=2, warmup_steps=1))
    model = WorldModel.load(train(replace(config, predictor=replace(config.predictor, use_state=False))))
    latents = model.encode(np.zeros((1, 32, 32, 3), np.uint8))
    actions = np.random.default_rng(0).normal(size=(3, 2, 7))
    here, there = (model.rollout(latents, state, actions) for state in (np.zeros((1, 7)), np.ones((1, 7))))
    assert torch.equal(here, there)
    assert not torch.equal(here[0], here[1])

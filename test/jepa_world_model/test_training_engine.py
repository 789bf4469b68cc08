"""The training engine: several processes match one, bad batches, interruptions and full disks cost nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from training_data import save_episodes

from jepa_world_model.training.distributed import Part
from jepa_world_model.training.encoder_run import EncoderShape
from jepa_world_model.training.engine import Engine
from jepa_world_model.training.joint import JointConfig
from jepa_world_model.training.loop import LoopConfig, TrainingError, learning_rate_at
from jepa_world_model.training.monitor import MonitorConfig
from jepa_world_model.training.pretrain import PretrainConfig, pretrain
from jepa_world_model.training.run_folder import RunFolderError, claim, save_tensors
from jepa_world_model.training.vjepa import VJepaConfig


def run_config(folder: Path, out: Path, objective: str, steps: int = 30, save_every: int = 5) -> PretrainConfig:
    """A run small enough for a test, of an objective with terms over the whole batch."""
    masked = VJepaConfig(
        frames=2, predictor_dim=16, predictor_depth=1, predictor_heads=2, sigreg_weight=0.1, covariance_weight=0.1
    )
    return PretrainConfig(
        folder / "data",
        out,
        objective=objective,  # type: ignore[arg-type]
        encoder=EncoderShape(dim=32, depth=1, heads=2),
        joint=JointConfig(latent_dim=16, hidden_dim=16),
        vjepa=replace(masked, projection_dim=8),
        monitor=MonitorConfig(every=0, frames=24, least_std=0.0, least_rank=0.0),
        loop=LoopConfig(steps=steps, warmup_steps=2, save_every=save_every, log_every=1),
        batch=4,
        max_stride=2,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset."""
    path = tmp_path_factory.mktemp("engine")
    save_episodes(path / "data", size=48)
    return path


# --- processes ----------------------------------------------------------------------------------------------

_PROGRAM = """
import pathlib, resource, sys
sys.path.insert(0, {tests!r})
import torch
from jepa_world_model.training.pretrain import pretrain
from test_training_engine import run_config
torch.set_num_threads(1)
folder, out, objective, steps, save_every, largest_file = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file), resource.RLIM_INFINITY))
pretrain(run_config(pathlib.Path(folder), pathlib.Path(out), objective, int(steps), int(save_every)))
"""


def program(
    folder: Path, out: Path, objective: str, steps: int, save_every: int = 5, largest_file: int = -1
) -> list[str]:
    """Script and arguments of a run in a process of its own."""
    script = folder / "run.py"
    script.write_text(_PROGRAM.format(tests=str(Path(__file__).parent)))
    return [str(script), str(folder), str(out), objective, str(steps), str(save_every), str(largest_file)]


def logged(out: Path) -> list[dict[str, float]]:
    """Losses by step, without what the monitor saw."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


@pytest.mark.parametrize("objective", ["joint", "vjepa"])
def test_two_processes_match_one(folder: Path, tmp_path: Path, objective: str) -> None:
    pretrain(run_config(folder, tmp_path / "one", objective, steps=4))
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    options = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command = [*launcher, *options, *program(folder, tmp_path / "two", objective, 4)]
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
def uninterrupted(folder: Path) -> dict[str, Tensor]:
    """The encoder that a run ends with when nothing happens."""
    command = [sys.executable, *program(folder, folder / "whole", "vjepa", 30)]
    subprocess.run(command, check=True, capture_output=True, timeout=500)
    return torch.load(folder / "whole" / "encoder.pt", weights_only=True)


def assert_goes_on(folder: Path, out: Path, expected: dict[str, Tensor]) -> None:
    """The run in `out` goes on, to the same weights and a log without gaps or repetitions."""
    command = [sys.executable, *program(folder, out, "vjepa", 30)]
    subprocess.run(command, check=True, capture_output=True, timeout=500)
    assert [line["step"] for line in logged(out)] == list(range(1, 31))
    for name, value in torch.load(out / "encoder.pt", weights_only=True).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_loses_at_most_one_interval_and_goes_on_to_the_same_weights(
    folder: Path, tmp_path: Path, uninterrupted: dict[str, Tensor], how: signal.Signals
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, *program(folder, out, "vjepa", 30)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        wait_for(lambda: (out / "state.pt").exists(), process)
        process.send_signal(how)
        process.communicate(timeout=300)
        assert process.returncode != 0
    done = len(logged(out))
    step = torch.load(out / "state.pt", weights_only=True)["step"]
    assert done < 30, "it was interrupted, not finished"
    assert done - step <= (0 if how is signal.SIGINT else 5)
    assert_goes_on(folder, out, uninterrupted)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)


def test_a_full_disk_keeps_the_state_saved_last(folder: Path, tmp_path: Path, uninterrupted: dict[str, Tensor]) -> None:
    out = tmp_path / "run"
    # Larger than the configuration and the log, smaller than the state.
    command = [sys.executable, *program(folder, out, "vjepa", 30, largest_file=20_000)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode != 0
    assert "state.pt could not be written" in ended.stderr or "File too large" in ended.stderr, ended.stderr[-1000:]
    assert not [path for path in out.iterdir() if "state" in path.name]
    assert_goes_on(folder, out, uninterrupted)


def test_a_failed_write_leaves_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_tensors(path, {"step": 1})
    with pytest.raises(TypeError, match="pickle"):
        save_tensors(path, {"step": (number for number in range(3))})
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


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
    rates = [learning_rate_at(config, step) for step in range(100)]
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

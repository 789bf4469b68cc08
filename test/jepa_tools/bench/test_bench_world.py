"""`jepa bench world`: read-outs and predictions beside the guesses that know nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from training_data import save_episodes
from untrained_models import save_untrained

from jepa_tools.bench.world import WorldBench, bench_world
from jepa_world_model.checkpoint import save_world_model
from jepa_world_model.training.readout import AttentiveConfig
from jepa_world_model.world_model import WorldModel


def with_objects(folder: Path, speed: float) -> Path:
    """Episodes with two objects, of which the first moves by ``speed`` m a frame."""
    for path in sorted(save_episodes(folder).glob("*.npz")):
        arrays = dict(np.load(path))
        episodes, frames = arrays["states"].shape[:2]
        objects = np.zeros((episodes, frames, 2, 3), np.float32)
        objects[:, :, 0, 0] = speed * np.arange(frames)
        np.savez(path, **arrays, objects=objects)
    return folder


@pytest.mark.parametrize(("speed", "moved"), [(0.0, False), (0.02, True)])
def test_a_model_is_held_against_the_last_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], speed: float, moved: bool
) -> None:
    data = with_objects(tmp_path / "data", speed)
    config = WorldBench(
        model=str(save_untrained(tmp_path)),
        data=data,
        validation=data,
        predicted=(1, 2),
        horizon=2,
        clips=16,
        attentive=AttentiveConfig(queries=2, width=8, steps=5, batch=8),
        out=tmp_path / "world.json",
    )
    results = json.loads(bench_world(config).read_text())["results"]
    latents = [row["latents"] for row in results["readouts"] if row["read-out"] == "linear"]
    assert latents[:3] == ["encoded", "predicted, 1 ahead", "last frame's, 1 ahead"]
    assert ("predicted, 2 ahead, an object moved" in latents) is moved
    assert {"tool", "object 1", "object 2", "closedness"} <= set(results["readouts"][0])
    for table in results["validation"]["tables"]:
        assert all(row["copy_last_frame"] > 0 for row in table["horizons"])
    filled = {row["over"] for row in results["predictions"] if "1" in row}
    assert filled == ({"all frames", "where an object moved"} if moved else {"all frames"})
    assert {row["distance"] for row in results["ranks"]} == {"l1", "l2"}, "this model has no metric"
    assert "object 1" in capsys.readouterr().out


def test_a_checkpoint_without_a_predictor_is_refused(tmp_path: Path) -> None:
    model = WorldModel.load(str(save_untrained(tmp_path)))
    path = tmp_path / "encoder.safetensors"
    save_world_model(path, model.encoder, None, model.card, {})
    data = with_objects(tmp_path / "data", 0.0)
    with pytest.raises(ValueError, match="no predictor"):
        bench_world(WorldBench(model=str(path), data=data, validation=data, out=tmp_path / "world.json"))

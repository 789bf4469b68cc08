"""Golden vectors of the official implementation; tests that need them skip where they are not at hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from jepa_world_model.action_predictor import ActionPredictorConfig
from jepa_world_model.masked_predictor import MaskedPredictorConfig
from jepa_world_model.official_checkpoints import NetworkShapes
from jepa_world_model.vision_transformer import EncoderConfig

# Modules of this folder that several of its tests share.
sys.path.insert(0, str(Path(__file__).parent))

GOLDEN_FOLDER = Path(os.environ.get("JEPA_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden"))


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker of long runs."""
    config.addinivalue_line("markers", "long: takes minutes; runs with `pytest -m long` only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips long runs unless they are asked for."""
    if "long" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="a long run: pytest -m long"))


@dataclass(frozen=True)
class Golden:
    """Arrays and shapes of one golden file, beside its checkpoint."""

    checkpoint: Path
    arrays: dict[str, Tensor]
    settings: dict[str, int]

    @property
    def shapes(self) -> NetworkShapes:
        settings = self.settings
        encoder = EncoderConfig(
            image_size=settings["img_size"],
            num_frames=settings["num_frames"],
            embed_dim=settings["embed_dim"],
            depth=settings["depth"],
            num_heads=settings["num_heads"],
            generation="2.1" if "n_output_distillation" in settings else "2.0",
        )
        if "predictor_heads" not in settings:
            return NetworkShapes(encoder)
        size = {
            "image_size": encoder.image_size,
            "embed_dim": encoder.embed_dim,
            "predictor_dim": settings["predictor_embed_dim"],
            "depth": settings["predictor_depth"],
            "num_heads": settings["predictor_heads"],
        }
        if "num_mask_tokens" not in settings:
            return NetworkShapes(encoder, action_predictor=ActionPredictorConfig(**size))
        masked = MaskedPredictorConfig(
            **size, num_frames=encoder.num_frames, num_mask_tokens=settings["num_mask_tokens"]
        )
        return NetworkShapes(encoder, masked_predictor=masked)


@pytest.fixture(scope="session")
def load_golden() -> Callable[[str], Golden]:
    """Reads the golden file of a name, or skips the test."""

    def load(name: str) -> Golden:
        checkpoint = GOLDEN_FOLDER / f"{name}.pt"
        if not checkpoint.exists():
            pytest.skip(f"no golden vectors in {GOLDEN_FOLDER}; set JEPA_GOLDEN to their folder")
        with np.load(checkpoint.with_suffix(".npz")) as stored:
            values = {key: stored[key] for key in stored.files}
        settings = {key.removeprefix("meta_"): int(v) for key, v in values.items() if key.startswith("meta_")}
        arrays = {key: torch.from_numpy(v) for key, v in values.items() if not key.startswith("meta_")}
        return Golden(checkpoint, arrays, settings)

    return load

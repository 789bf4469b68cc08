"""Encoders other than V-JEPA: image models of timm, and kinds that another package brings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import resolve_model_data_config
from training_data import make_episodes, save_episodes

from jepa_world_model.checkpoint import CheckpointError, open_world_model
from jepa_world_model.convert import ConvertConfig, convert
from jepa_world_model.encoders import ENCODER_KINDS, EncoderSource
from jepa_world_model.safetensors_header import read_metadata
from jepa_world_model.training.loop import LoopConfig
from jepa_world_model.training.post_train import PostTrainConfig
from jepa_world_model.training.predictor_run import PredictorShape
from jepa_world_model.training.pretrain import PretrainConfig, pretrain
from jepa_world_model.training.train import TrainConfig, train
from jepa_world_model.world_model import WorldModel

VIT = "test_vit"


def timm_file(folder: Path, name: str = VIT, suffix: str = "safetensors") -> tuple[torch.nn.Module, Path]:
    """A model with random weights, and the file that holds them with the classifier's."""
    torch.manual_seed(1)
    model, path = timm.create_model(name, pretrained=False).eval(), folder / f"weights.{suffix}"
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.05)
    tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    if suffix == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors}, path)
    return model, path


def pictures(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def normalised(model: torch.nn.Module, frames: np.ndarray) -> torch.Tensor:
    settings = resolve_model_data_config(model)
    mean, std = (torch.tensor(settings[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (torch.from_numpy(frames).permute(0, 3, 1, 2) / 255.0 - mean) / std


def layer_normed(tokens: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(tokens, tokens.shape[-1:])


@torch.inference_mode()
def test_latents_are_the_patches_of_a_transformer_on_images_as_timm_wants_them(tmp_path: Path) -> None:
    model, path = timm_file(tmp_path)
    assert model.num_prefix_tokens > 0
    world_model = WorldModel.load(f"timm:{VIT}@{path}")
    size = resolve_model_data_config(model)["input_size"][1]
    assert world_model.card.image_size == size
    expected = layer_normed(model.forward_features(normalised(model, pictures(size)))[:, model.num_prefix_tokens :])
    torch.testing.assert_close(world_model.encode(pictures(size)), expected, atol=1e-4, rtol=1e-4)
    assert expected.shape[1:] == (world_model.card.tokens, world_model.card.dim)


@torch.inference_mode()
def test_latents_are_the_cells_of_a_convolutional_network_row_by_row(tmp_path: Path) -> None:
    model, path = timm_file(tmp_path, "test_resnet", "pth")
    world_model = WorldModel.load(f"timm:test_resnet@{path}")
    frames = pictures(world_model.card.image_size)
    cells = model.forward_features(normalised(model, frames))
    rows = [layer_normed(cells[0, :, row, column]) for row in range(cells.shape[2]) for column in range(cells.shape[3])]
    torch.testing.assert_close(world_model.encode(frames)[0], torch.stack(rows), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_channels_last_feature_map_is_read_row_by_row(tmp_path: Path) -> None:
    name = "swin_tiny_patch4_window7_224"
    model, path = timm_file(tmp_path, name)
    world_model = WorldModel.load(f"timm:{name}@{path}")
    frames = pictures(world_model.card.image_size, 1)
    cells = model.forward_features(normalised(model, frames))
    assert (world_model.card.tokens, world_model.card.dim) == (49, cells.shape[-1])
    torch.testing.assert_close(world_model.encode(frames)[0, 8], layer_normed(cells[0, 1, 1]), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", [VIT, "test_resnet"])
def test_a_converted_encoder_gives_the_same_latents_in_any_precision(tmp_path: Path, name: str) -> None:
    _, path = timm_file(tmp_path, name)
    target = tmp_path / "converted.safetensors"
    report = convert(ConvertConfig(Path(f"timm:{name}@{path}"), target))
    assert json.loads(read_metadata(target)["encoder"])["kind"] == "timm"
    direct, stored = WorldModel.load(f"timm:{name}@{path}"), WorldModel.load(target)
    assert stored.card.model_id == report.card.model_id == f"converted@{report.card.version}"
    frames = pictures(stored.card.image_size)
    torch.testing.assert_close(stored.encode(frames), direct.encode(frames), atol=0, rtol=0)
    short = WorldModel.load(target, dtype="bfloat16").encode(frames)
    assert short.dtype == torch.float32
    assert float((short - direct.encode(frames)).abs().mean()) < 0.05


def test_training_on_a_timm_encoder_leads_to_a_model_that_encodes_and_plans(tmp_path: Path) -> None:
    _, path = timm_file(tmp_path, "test_resnet")
    data = save_episodes(tmp_path / "data", shards=1)
    config = TrainConfig(
        data=data,
        validation=data,
        encoder_run=Path(f"timm:test_resnet@{path}"),
        out=tmp_path / "run",
        checkpoint=tmp_path / "trained.safetensors",
        predictor=PredictorShape(dim=32, depth=1, heads=2),
        post=PostTrainConfig(batch=4, max_stride=2),
        loop=LoopConfig(steps=2, warmup_steps=1, log_every=2),
    )
    world_model = WorldModel.load(train(config))
    alone = WorldModel.load(f"timm:test_resnet@{path}")
    # The data's images are smaller; the encoder gets them at its own size, in training as afterwards.
    assert world_model.card.preprocess == alone.card.preprocess
    frames = make_episodes(3).images[0]
    latents = world_model.encode(frames)
    assert world_model.statistics is not None
    mean, std = world_model.statistics
    torch.testing.assert_close(latents, (alone.encode(frames) - mean) / std)
    energies = world_model.energy(latents[:1], np.zeros((1, 7)), np.zeros((3, 1, 7)), latents[1])
    assert torch.isfinite(energies).all()


def test_pretraining_does_not_begin_with_another_kind_of_encoder(tmp_path: Path) -> None:
    _, path = timm_file(tmp_path)
    data = save_episodes(tmp_path / "data")
    with pytest.raises(CheckpointError, match="expected a V-JEPA encoder to go on from, got timm"):
        pretrain(PretrainConfig(data, tmp_path / "run", initial=Path(f"timm:{VIT}@{path}")))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("timm:test_vit", "expected timm:NAME@FILE"),
        ("timm:test_vit@{folder}/missing.pth", "there is no file"),
        ("timm:test_vit_@{weights}", "no model 'test_vit_'; similar ones: test_vit"),
        ("timm:test_vit.nonsense@{weights}", "cannot make the model"),
        ("timm:test_vit@{text}", "cannot be read as weights"),
        ("timm:test_vit2@{weights}", "does not fit the configured shape"),
        ("nonsense:test_vit@{weights}", "expected a kind of encoder of vjepa, timm"),
    ],
)
def test_what_cannot_be_an_encoder_is_refused_with_what_to_do(tmp_path: Path, source: str, words: str) -> None:
    _, weights = timm_file(tmp_path)
    text = tmp_path / "text.pth"
    text.write_text("<html>not found</html>")
    with pytest.raises(CheckpointError, match=words):
        WorldModel.load(source.format(folder=tmp_path, weights=weights, text=text))


@pytest.mark.parametrize("text", ["franka-table-small", "models/a.safetensors", "/data/run:1/encoder.pt", "C:"])
def test_paths_and_names_are_no_encoder_sources(text: str) -> None:
    assert EncoderSource.parse(text) is None


def test_a_file_that_exists_is_a_path_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("timm:odd@name").touch()
    assert EncoderSource.parse("timm:odd@name") is None


def test_timm_is_imported_by_its_encoders_alone() -> None:
    program = (
        "import sys; import jepa_world_model.world_model, jepa_world_model.timm_encoder; print('timm' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False"]


OUTSIDE = '''
    """Mean colours of a grid of cells: no network at all."""
    from dataclasses import dataclass
    from typing import ClassVar

    import torch

    from jepa_world_model.encoders import Encoder, EncoderKind
    from jepa_world_model.preprocess import Preprocess


    @dataclass(frozen=True)
    class CellsConfig:
        kind: ClassVar[str] = "cells"
        image_size: int = 32
        patch_size: int = 8
        embed_dim: int = 3

        @property
        def tokens_per_frame(self):
            return (self.image_size // self.patch_size) ** 2

        @property
        def preprocess(self):
            return Preprocess(self.image_size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


    class Cells(Encoder):
        def __init__(self, config):
            super().__init__()
            self.config = config
            self.gain = torch.nn.Parameter(torch.ones(3))

        def forward(self, clip):
            cells = torch.nn.functional.avg_pool2d(clip[:, :, -1], self.config.patch_size)
            return cells.flatten(2).transpose(1, 2) * self.gain


    def read(name, weights):
        cells = Cells(CellsConfig(patch_size=int(name)))
        cells.load_state_dict(torch.load(weights, weights_only=True))
        return cells


    CELLS = EncoderKind(CellsConfig, Cells, read)
'''


def test_a_package_from_outside_brings_a_kind_of_encoder(tmp_path: Path, install_package) -> None:
    target = tmp_path / "cells.safetensors"
    torch.save({"gain": torch.tensor([1.0, 2.0, 3.0])}, tmp_path / "gain.pt")
    source = Path(f"cells:16@{tmp_path / 'gain.pt'}")
    with pytest.raises(CheckpointError, match=r"expected a kind of encoder of vjepa, timm, got 'cells'.*jepa_ros\.enc"):
        convert(ConvertConfig(source, target))
    install_package("jepa_cells", OUTSIDE, {"jepa_ros.encoders": "cells = jepa_cells:CELLS"})
    assert ENCODER_KINDS.names() == ("vjepa", "timm", "cells")
    convert(ConvertConfig(source, target))
    world_model = WorldModel.load(target)
    assert (world_model.card.tokens, world_model.card.dim, world_model.card.image_size) == (4, 3, 32)
    frame = np.zeros((1, 32, 32, 3), np.uint8)
    frame[0, :16, 16:] = (255, 255, 0)
    blue_is_least = world_model.encode(frame)[0, 1]
    assert blue_is_least.argmin() == 2 and blue_is_least.argmax() == 1
    assert open_world_model(target).encoder_config.patch_size == 16


def test_another_package_cannot_take_the_name_of_a_kind_of_ours(install_package) -> None:
    install_package("jepa_thief", "TIMM = None", {"jepa_ros.encoders": "timm = jepa_thief:TIMM"})
    assert ENCODER_KINDS.names() == ("vjepa", "timm")
    assert ENCODER_KINDS.load("timm") is not None

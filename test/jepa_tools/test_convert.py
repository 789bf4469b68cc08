"""`jepa convert` on the command line."""

from __future__ import annotations

import json
from dataclasses import asdict

import torch

from jepa_tools.cli import main
from jepa_world_model.official_checkpoints import load_encoder
from jepa_world_model.vision_transformer import EncoderConfig, VisionTransformer

CONFIG = EncoderConfig(image_size=32, num_frames=2, embed_dim=24, depth=1, num_heads=2)


def test_an_official_file_becomes_a_checkpoint(tmp_path, capsys):
    source, target, shape = (tmp_path / name for name in ("tiny.pt", "tiny.safetensors", "shape.json"))
    torch.save({"target_encoder": VisionTransformer(CONFIG).state_dict(), "epoch": 3}, source)
    shape.write_text(json.dumps({"encoder": asdict(CONFIG)}))
    assert main(["convert", str(source), str(target), "--config", str(shape)]) == 0
    assert "left out: epoch" in capsys.readouterr().out
    assert load_encoder(target).config == CONFIG


def test_a_file_that_cannot_be_converted_ends_with_its_reason(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "absent.pt"), str(tmp_path / "new.safetensors")]) == 1
    assert "no file" in capsys.readouterr().err

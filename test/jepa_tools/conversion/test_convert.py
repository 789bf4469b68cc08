"""`jepa convert` on the command line."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
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


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("old.bag", b"#ROSBAG V2.0\nE\0\0\0", "found one of ROS 1: `rosbags-convert"),
        ("folder/old.bag", b"#ROSBAG V2.0\nE\0\0\0", "found one of ROS 1: `rosbags-convert"),
        ("folder/notes.txt", b"hello", "found none"),
        ("notes.txt", b"hello", "is a text file of 5 bytes that begins 'hello'"),
        ("weights.bin", b"\x00\x01", "found none"),
        ("mistyped/x", b"", "there is no file or folder of that name"),
    ],
)
def test_what_is_neither_bag_nor_checkpoint_is_not_taken_for_one(tmp_path, capsys, name, data, words):
    source = tmp_path / name.split("/")[0]
    if not name.startswith("mistyped"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert main(["convert", str(source), str(tmp_path / "target")]) == 1
    error = capsys.readouterr().err
    assert "expected a checkpoint" in error and "a bag of ROS 2" in error and words in error
    assert not (tmp_path / "target").exists()


def test_a_checkpoint_is_one_whatever_its_name(tmp_path, capsys):
    source, shape = tmp_path / "downloaded", tmp_path / "shape.json"
    torch.save({"target_encoder": VisionTransformer(CONFIG).state_dict()}, source)
    shape.write_text(json.dumps({"encoder": asdict(CONFIG)}))
    assert main(["convert", str(source), str(tmp_path / "new.safetensors"), "--config", str(shape)]) == 0


def test_a_file_that_cannot_be_converted_ends_with_its_reason(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "absent.pt"), str(tmp_path / "new.safetensors")]) == 1
    assert "no file" in capsys.readouterr().err

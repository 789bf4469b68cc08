"""Every `jepa` command line of the documents and of the scripts is one that `jepa` understands."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import tyro
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from jepa_common.qos_profiles import latched_qos
from jepa_tools.cli import COMMANDS, configuration_type

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("models/**/*.md")])
SCRIPTS = sorted([*ROOT.glob("models/recipes/*.sh"), *ROOT.glob("benchmarks/*.sh")])
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(jepa [^`]+)`")
# What a reader fills in, as in `jepa convert BAG... DATASET`.
PLACEHOLDER = re.compile(r"\.\.\.|\b[A-Z]{2,}\b|\bF\b")
TELL_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


def in_blocks(text: str) -> list[str]:
    """Lines of a document's blocks of code."""
    return [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]


def in_sentences(text: str) -> list[str]:
    """What its sentences quote."""
    return INLINE.findall(BLOCK.sub("", text))


def command_lines(lines: Iterable[str]) -> Iterator[list[str]]:
    """Words after `jepa`, but for names of commands alone and for lines to fill in."""
    for line in lines:
        words = shlex.split(line, comments=True)[1:] if line.startswith("jepa ") else []
        if len(words) > 1 and not PLACEHOLDER.search(line):
            yield words


def misunderstood(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `jepa` has against the words; empty when it makes a configuration of them."""
    name, *options = words
    if options == ["--help"]:
        return ""
    command = next(command for command in COMMANDS if command.name == name)
    try:
        tyro.cli(configuration_type(command.load()), args=options)
    except SystemExit:
        return f"{shlex.join(words)}: {capsys.readouterr().err}"
    return ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = document.read_text(encoding="utf-8")
    for words in command_lines(in_blocks(text)):
        assert not misunderstood(words, capsys)
    for words in command_lines(in_sentences(text)):
        # A sentence may leave out what is not its subject.
        complaint = misunderstood(words, capsys)
        assert not complaint or "Required options" in complaint


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts(script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell = tmp_path / "tell.py"
    tell.write_text(TELL_ARGUMENTS)
    told = subprocess.run(
        ["bash", script, tmp_path],
        env={**os.environ, "JEPA": f"{sys.executable} {tell}", "OUT": str(tmp_path)},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("[")]
    assert lines, told.stderr
    for words in lines:
        assert not misunderstood(words, capsys)


READERS = {"/goal_image": latched_qos()}


def published_by_hand() -> list[list[str]]:
    """Words of every documented `ros2 topic pub`."""
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    lines = [line for text in texts for line in in_blocks(text) if line.startswith("ros2 topic pub")]
    return [shlex.split(line, comments=True)[3:] for line in lines]


def meets_its_readers(words: list[str]) -> bool:
    """Whether `ros2 topic pub` with these options, and its defaults, offers what the topic's readers ask for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--qos-durability", default="volatile")
    parser.add_argument("--qos-reliability", default="reliable")
    parser.add_argument("rest", nargs="*")
    asked = parser.parse_args(words)
    offered = QoSProfile(
        depth=1,
        durability=DurabilityPolicy.get_from_short_key(asked.qos_durability),
        reliability=ReliabilityPolicy.get_from_short_key(asked.qos_reliability),
    )
    return bool(qos_check_compatible(offered, READERS[asked.rest[0]])[0] != QoSCompatibility.ERROR)


def test_what_is_published_by_hand_meets_its_readers() -> None:
    assert published_by_hand()
    assert all(meets_its_readers(words) for words in published_by_hand())
    assert not meets_its_readers(["--once", "/goal_image"])


def test_there_are_commands_to_look_at() -> None:
    assert sum(len(list(command_lines(in_blocks(path.read_text(encoding="utf-8"))))) for path in DOCUMENTS) > 30


def test_an_option_that_does_not_exist_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    (words,) = command_lines(in_blocks("```\njepa train --data a --no-predictor.use-state   # wrong\n```\n"))
    assert "--no-predictor.use-state" in misunderstood(words, capsys)

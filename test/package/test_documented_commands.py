"""Every `jepa` command line of the documents and of the scripts is one that `jepa` understands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro

from jepa_tools.cli import COMMANDS, configuration_type

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("models/**/*.md")])
SCRIPTS = sorted([*ROOT.glob("models/recipes/*.sh"), *ROOT.glob("benchmarks/*.sh")])
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(jepa [^`]+)`")
# What a reader fills in, as in `jepa convert BAG... DATASET`.
PLACEHOLDER = re.compile(r"\.\.\.|\b[A-Z]{2,}\b|\bF\b")
TELL_ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


def command_lines(text: str) -> Iterator[list[str]]:
    """Words after `jepa` of the command lines in a document, but for names of commands and for lines to fill in."""
    blocks = [block.replace("\\\n", " ") for block in BLOCK.findall(text)]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("jepa ")]
    for line in (*lines, *INLINE.findall(BLOCK.sub("", text))):
        words = shlex.split(line, comments=True)[1:]
        if len(words) > 1 and words != ["--help"] and not PLACEHOLDER.search(" ".join(words)):
            yield words


def understand(words: list[str]) -> None:
    """Makes the configuration that the words ask for; fails for words that `jepa` does not know."""
    name, *options = words
    if options == ["--help"]:
        return
    command = next(command for command in COMMANDS if command.name == name)
    try:
        tyro.cli(configuration_type(command.load()), args=options)
    except SystemExit:
        pytest.fail(f"jepa does not understand: {shlex.join(words)}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents(document: Path) -> None:
    for words in command_lines(document.read_text(encoding="utf-8")):
        understand(words)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts(script: Path, tmp_path: Path) -> None:
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
        understand(words)


def test_there_are_commands_to_look_at() -> None:
    assert sum(1 for path in DOCUMENTS for _ in command_lines(path.read_text(encoding="utf-8"))) > 30

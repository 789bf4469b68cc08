"""The documents keep up with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jepa_tools.bring_up.deployments import DEPLOYMENTS
from jepa_tools.cli import COMMANDS
from jepa_tools.reports import parameter_docs
from jepa_tools.reports.parameter_docs import DOCUMENT, parameter_document

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_the_parameters_are_those_of_the_code() -> None:
    message = "run: python -m jepa_tools.reports.parameter_docs"
    assert (ROOT / DOCUMENT).read_text(encoding="utf-8") == parameter_document(), message


@pytest.mark.parametrize(("ending", "status"), [("", 0), ("by hand", 1)])
def test_a_document_that_is_not_current_fails_the_check_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ending: str, status: int
) -> None:
    document = tmp_path / DOCUMENT
    document.parent.mkdir()
    document.write_text(parameter_document() + ending, encoding="utf-8")
    monkeypatch.setattr(parameter_docs, "share_folder", lambda: tmp_path)
    monkeypatch.setattr("sys.argv", ["parameter_docs", "--check"])
    assert parameter_docs.main() == status
    assert document.read_text(encoding="utf-8") == parameter_document() + ending
    assert ("is not current" in capsys.readouterr().err) == bool(status)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_what_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    commands = {command.name for command in COMMANDS}
    used = set(re.findall(r"(?:^|`|\$ |bin/)jepa ([a-z][a-z-]+)", text, re.MULTILINE))
    assert used <= commands, f"{sorted(used - commands)}: no such commands of jepa"
    launched = set(re.findall(r"ros2 launch jepa_ros ([a-z_]+)\.launch\.py", text))
    assert launched <= set(DEPLOYMENTS), f"{sorted(launched - set(DEPLOYMENTS))}: no such launch files"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(path: Path) -> None:
    roots = "jepa_[a-z_]+|config|launch|models|benchmarks|docs|test"
    named = re.findall(rf"`((?:{roots})/[\w./-]+\.(?:py|yaml|md|sh|urdf|json))`", path.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]

"""Renaming what is finished into its place is written once, in `jepa_common/whole_files.py`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Folders that are finished as a whole: bags and datasets.
FOLDERS = {
    "jepa_tools/recording/bag_writer.py",
    "jepa_tools/conversion/dataset_to_bag.py",
    "jepa_world_model/data/lerobot/writer.py",
}


def renames(path: Path) -> bool:
    """Whether a module flushes to the disk or renames a path: `x.replace(y)` of text takes two arguments."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    methods = [(call.func.attr, call) for call in calls if isinstance(call.func, ast.Attribute)]
    return any(
        name in ("fsync", "rename") or (name == "replace" and len(call.args) == 1 and not call.keywords)
        for name, call in methods
    )


def test_no_module_has_a_way_of_its_own_to_put_a_file_in_place() -> None:
    sources = [path for folder in ROOT.glob("jepa_*") for path in folder.rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in sources if renames(path)}
    assert found == FOLDERS | {"jepa_common/whole_files.py"}

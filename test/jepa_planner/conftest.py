"""What the planner's tests share: the arm they move, and a marker for runs that take minutes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker of long runs."""
    config.addinivalue_line("markers", "long: takes minutes; runs with `pytest -m long` only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips long runs unless they are asked for."""
    if "long" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="a long run: pytest -m long"))

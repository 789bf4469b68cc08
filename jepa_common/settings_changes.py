"""Whether settings that were written down earlier are those of today."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """Settings as JSON and YAML can hold them: dataclasses as mappings, paths as text, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def changed_settings(found: Mapping[str, Any], config: Any, may_change: Set[str] = frozenset()) -> list[str]:
    """Names of settings with another value than before.

    A setting that did not exist before had its default; without a default it cannot have mattered.

    Args:
        found: what :func:`plain` made of the settings then.
        config: the settings now, a dataclass of values and of other such dataclasses.
        may_change: names that do not count, wherever they stand.
    """
    return sorted(_changed(found, config, may_change, ""))


def _changed(found: Mapping[str, Any], config: Any, may_change: Set[str], prefix: str) -> list[str]:
    names: list[str] = []
    for field in fields(config):
        if field.name in may_change:
            continue
        now, before = getattr(config, field.name), found.get(field.name, _default(field))
        if is_dataclass(now) and isinstance(before, Mapping):
            names += _changed(before, now, may_change, f"{prefix}{field.name}.")
        elif before is not MISSING and before != plain(now):
            names.append(f"{prefix}{field.name}")
    return names


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return plain(field.default_factory())
    return field.default if field.default is MISSING else plain(field.default)

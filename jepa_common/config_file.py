"""Settings from a YAML file, beside those of the command line, which come later and win.

``--preset NAME`` is the file of that name in ``models/recipes``.

A file has the names of the options, nested: ``loop: {steps: 4000}`` is ``--loop.steps 4000``. Types and names are
checked where those of the command line are. The ``config.yaml`` that training leaves in a run's folder is such a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from jepa_common.resources import find_resource

CONFIG_OPTION = "--config-file"
PRESET_OPTION = "--preset"


class ConfigFileError(ValueError):
    """A settings file that cannot be used; the message says why."""


def with_config_file(arguments: Sequence[str]) -> list[str]:
    """Arguments with ``--config-file FILE`` or ``--preset NAME``, or with ``=``, replaced by the file's settings.

    These come before the rest; of several files the later ones win.

    Raises:
        ConfigFileError: no file behind the option, no preset of that name, or a file that is not a YAML mapping.
    """
    rest: list[str] = []
    files: list[Path] = []
    words = iter(arguments)
    for word in words:
        option, equals, name = word.partition("=")
        option = option.replace("_", "-")  # the command line takes either for all options
        if option not in (CONFIG_OPTION, PRESET_OPTION):
            rest.append(word)
        elif name := (name if equals else next(words, "")):
            files.append(preset_file(name) if option == PRESET_OPTION else Path(name))
        else:
            raise ConfigFileError(f"{option}: expected a YAML file or a preset's name behind it")
    return [*(word for file in files for word in _options(_read(file), "")), *rest]


def preset_file(name: str) -> Path:
    """The settings file of a preset; raises ConfigFileError for an unknown one, and lists those that there are."""
    folder = find_resource("models", "recipes")
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ConfigFileError(f"{PRESET_OPTION}: expected one of {known}, got {name!r}")
    return path


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigFileError(f"{CONFIG_OPTION} {path}: {error}") from error
    if not isinstance(values, Mapping):
        raise ConfigFileError(f"{CONFIG_OPTION} {path}: expected names with values, such as `batch: 64`")
    return values


def _options(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in values.items():
        option = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _options(value, f"{option}.")
        elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            for index, entry in enumerate(value):
                yield from _options(entry, f"{option}.{index}.")
        else:
            yield from _option(option, value)


def _option(option: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        before, dot, name = option.rpartition(".")
        yield f"--{option}" if value else f"--{before}{dot}no-{name}"
        return
    yield f"--{option}"
    yield from (str(entry) for entry in (value if isinstance(value, list) else [value]))

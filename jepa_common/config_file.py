"""Settings from a YAML file, beside those of the command line, which come later and win.

The file has the names of the options, nested: ``loop: {steps: 4000}`` is ``--loop.steps 4000``. Types and names are
checked where those of the command line are. The ``config.yaml`` that training leaves in a run's folder is such a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

CONFIG_OPTION = "--config-file"


class ConfigFileError(ValueError):
    """A settings file that cannot be used; the message says why."""


def with_config_file(arguments: Sequence[str]) -> list[str]:
    """Arguments with ``--config-file FILE``, or with ``=``, replaced by the settings of the file, before the rest.

    Of several files the later ones win.

    Raises:
        ConfigFileError: no file behind the option, or one that is not a YAML mapping.
    """
    rest: list[str] = []
    files: list[Path] = []
    words = iter(arguments)
    for word in words:
        option, equals, name = word.partition("=")
        if option.replace("_", "-") != CONFIG_OPTION:  # the command line takes either for all options
            rest.append(word)
        elif name := (name if equals else next(words, "")):
            files.append(Path(name))
        else:
            raise ConfigFileError(f"{CONFIG_OPTION}: expected a YAML file behind it")
    return [*(word for file in files for word in _options(_read(file), "")), *rest]


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

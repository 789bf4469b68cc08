"""Writes the executables that `ros2 run` and `ros2 launch` look for: one per console script of setup.cfg.

colcon installs them by itself. An editable installation has none, because the names are too plain for a shell's path.
"""

import argparse
import configparser
import sys
from pathlib import Path


def console_scripts(setup: Path) -> dict[str, str]:
    """Target, as `module:function`, by name of the executable."""
    parser = configparser.ConfigParser()
    parser.read(setup, encoding="utf-8")
    lines = parser["options.entry_points"]["console_scripts"].strip().splitlines()
    return {name.strip(): target.strip() for name, target in (line.split("=") for line in lines)}


def executable_text(target: str, python: str) -> str:
    """A program for the interpreter `python` that calls `target` and ends with what it returns."""
    module, function = target.split(":")
    return f"#!{python}\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"


def write_executables(setup: Path, folder: Path, python: str) -> None:
    """Makes `folder` hold exactly the executables that `setup` names."""
    scripts = console_scripts(setup)
    folder.mkdir(parents=True, exist_ok=True)
    for former in {path.name for path in folder.iterdir()} - set(scripts):
        (folder / former).unlink()
    for name, target in scripts.items():
        path = folder / name
        path.write_text(executable_text(target, python), encoding="utf-8")
        path.chmod(0o755)


def main() -> None:
    """For the interpreter that runs this."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setup", type=Path, help="setup.cfg")
    parser.add_argument("folder", type=Path, help="lib/jepa_ros of the environment")
    arguments = parser.parse_args()
    write_executables(arguments.setup, arguments.folder, sys.executable)


if __name__ == "__main__":
    main()

"""Gazebo's own SDF parser, where a package of the operating system has installed it (Debian: libsdformat12-12)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LIBRARIES = sorted(map(str, Path("/usr/lib").glob("*/libsdformat1[2-9].so.1[2-9]")))

# In a process of its own: it prints to the process's standard output, and its libraries stay out of the tests'.
_CALL = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
path = sys.argv[3].encode()
if sys.argv[2] == "check":
    sys.exit(library.cmdCheck(path))
sys.exit(library.cmdPrint(path, 0, 0, ctypes.c_float(0.01), 0, 0))
"""


def _run(action: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-c", _CALL, LIBRARIES[-1], action, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def complaints(path: Path) -> str:
    """What the parser has against a file; empty for a valid one."""
    done = _run("check", path)
    valid = done.returncode == 0 and "Valid" in done.stdout
    return done.stderr.strip() if valid else f"invalid: {done.stdout} {done.stderr}"


def as_parsed(path: Path) -> str:
    """The file as the parser understood it, as SDF; URDF is converted as Gazebo converts it."""
    done = _run("print", path)
    if done.returncode != 0 or "<sdf" not in done.stdout:
        raise ValueError(f"the parser could not read {path}: {done.stdout} {done.stderr}")
    return done.stdout[done.stdout.index("<sdf") :]

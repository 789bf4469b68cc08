"""Chooses how MuJoCo renders without a window."""

from __future__ import annotations

import ctypes.util
import os
import sys
from collections.abc import Mapping, MutableMapping

# In order of preference; the names are the values of MUJOCO_GL, the libraries are what each needs.
_OFFSCREEN_BACKENDS = (("egl", "EGL"), ("osmesa", "OSMesa"))


class RenderingError(RuntimeError):
    """MuJoCo cannot make pictures here; the message says what to do."""


def choose_rendering_backend(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Set ``MUJOCO_GL`` to an off-screen backend that this machine has, unless it is set already.

    Also keeps Mesa's software rasteriser to one thread unless ``LP_NUM_THREADS`` is set: frames are small, and the
    other cores belong to the other nodes.

    Returns:
        The value of ``MUJOCO_GL`` afterwards; None when MuJoCo's own default is left alone (no Linux, or no library).

    Raises:
        ImportError: ``MUJOCO_GL`` names a backend whose library is not installed, so that MuJoCo cannot be imported.
    """
    environment.setdefault("LP_NUM_THREADS", "1")
    if "MUJOCO_GL" not in environment and sys.platform.startswith("linux"):
        for backend, library in _OFFSCREEN_BACKENDS:
            if ctypes.util.find_library(library):
                environment["MUJOCO_GL"] = backend
                break
    chosen = environment.get("MUJOCO_GL")
    needed = dict(_OFFSCREEN_BACKENDS).get((chosen or "").strip().lower())
    if needed and not ctypes.util.find_library(needed):
        raise ImportError(f"MUJOCO_GL={chosen}: the library {needed} is not installed: install it, or unset MUJOCO_GL")
    return chosen


def rendering_error(reason: Exception, environment: Mapping[str, str] = os.environ) -> RenderingError:
    """What to do when MuJoCo cannot render for this reason."""
    backend = environment.get("MUJOCO_GL", "its default")
    displayed = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    if backend.strip().lower() == "glfw" and not displayed:
        cause = "it draws in a window, and there is no display (DISPLAY is not set)"
    else:
        cause = " ".join(str(reason).split())
    return RenderingError(f"no pictures can be rendered with MUJOCO_GL={backend}: {cause}; try MUJOCO_GL=egl or osmesa")

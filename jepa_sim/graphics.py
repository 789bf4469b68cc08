"""Chooses how MuJoCo renders without a window."""

from __future__ import annotations

import ctypes.util
import os
import sys
from collections.abc import MutableMapping

# In order of preference; the names are the values of MUJOCO_GL, the libraries are what each needs.
_OFFSCREEN_BACKENDS = (("egl", "EGL"), ("osmesa", "OSMesa"))


def choose_rendering_backend(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Set ``MUJOCO_GL`` to an off-screen backend that this machine has, unless it is set already.

    Also keeps Mesa's software rasteriser to one thread unless ``LP_NUM_THREADS`` is set: frames are small, and the
    other cores belong to the other nodes.

    Returns:
        The value of ``MUJOCO_GL`` afterwards; None when MuJoCo's own default is left alone (no Linux, or no library).
    """
    environment.setdefault("LP_NUM_THREADS", "1")
    if "MUJOCO_GL" not in environment and sys.platform.startswith("linux"):
        for backend, library in _OFFSCREEN_BACKENDS:
            if ctypes.util.find_library(library):
                environment["MUJOCO_GL"] = backend
                break
    return environment.get("MUJOCO_GL")

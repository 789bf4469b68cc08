"""Where the Franka's meshes are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_MESH_FOLDER = Path("envs/assets/kitchen_franka/franka_assets/meshes/collision")


class SceneError(RuntimeError):
    """The scene cannot be built; the message says what is missing and how to get it."""


def mesh_folder() -> Path:
    """Folder of the Franka's collision STL files inside the installed ``gymnasium-robotics`` package.

    The package itself is not imported: it would pull in much more than its files.

    Raises:
        SceneError: the package is not installed, or holds no such folder.
    """
    package = importlib.util.find_spec("gymnasium_robotics")
    if package is None or not package.submodule_search_locations:
        raise SceneError(
            "the Franka meshes come with the Python package 'gymnasium-robotics', which is not installed; "
            "install it with: pip install --no-deps gymnasium-robotics"
        )
    folder = Path(next(iter(package.submodule_search_locations))) / _MESH_FOLDER
    if not folder.is_dir():
        raise SceneError(f"expected the Franka's collision meshes in {folder}; reinstall 'gymnasium-robotics'")
    return folder

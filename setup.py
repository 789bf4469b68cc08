"""Makes the Python packages pip-installable where there is no ROS; colcon uses CMakeLists.txt instead."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
SHARED_FOLDERS = ("config", "launch", "models")


def package_version() -> str:
    """Version that package.xml states, so that it is stated once."""
    version = ElementTree.parse(ROOT / "package.xml").findtext("version")
    if version is None:
        raise ValueError("package.xml has no <version> element")
    return version.strip()


def shared_files() -> list[tuple[str, list[str]]]:
    """Files for share/jepa_ros, as (folder, files) pairs: the place where a ROS installation has them too."""
    folders: dict[str, list[str]] = {}
    for path in sorted(path for name in SHARED_FOLDERS for path in (ROOT / name).rglob("*") if path.is_file()):
        relative = path.relative_to(ROOT)
        if "__pycache__" not in relative.parts:
            folders.setdefault(f"share/jepa_ros/{relative.parent.as_posix()}", []).append(relative.as_posix())
    return sorted(folders.items())


setup(
    version=package_version(),
    packages=find_packages(include=["jepa_*", "jepa_*.*"]),
    package_data={"": ["*.css", "*.html", "*.js", "*.svg", "*.txt"]},
    data_files=shared_files(),
)

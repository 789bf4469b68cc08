"""Finds the package's shared files: configuration, robot models, checkpoints.

They lie at the root of the source tree, and below `share/jepa_ros` of every installation (colcon or pip).
"""

from pathlib import Path

PACKAGE = "jepa_ros"


def share_folder(start: Path = Path(__file__)) -> Path:
    """Folder with `config`, `launch` and `models`, found by walking up from `start`.

    Raises:
        FileNotFoundError: neither a source tree nor an installation encloses `start`.
    """
    for parent in start.resolve().parents:
        if (parent / "package.xml").is_file() and (parent / "jepa_common").is_dir():
            return parent
        if (parent / "share" / PACKAGE).is_dir():
            return parent / "share" / PACKAGE
    raise FileNotFoundError(
        f"expected the source tree or share/{PACKAGE} above {start}, found neither: install the package again"
    )


def find_resource(*parts: str) -> Path:
    """Path of one shared file or folder, such as `find_resource("models", "checkpoints")`.

    Raises:
        FileNotFoundError: it is not there.
    """
    path = share_folder().joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f"expected {path}, which is not there: is the installation complete?")
    return path

"""Points the CMake files of the ROS 2 wheels at the environment that they were installed into.

The wheels' exported CMake files name the Python of the machine that built them, for example
`/opt/python/cp311-cp311/include/python3.11`. This rewrites those paths; running it again changes nothing.
"""

import argparse
import re
import sysconfig
from pathlib import Path

BUILD_MACHINE_PYTHON = r"/opt/python/cp\d+-cp\d+"


def relocate(text: str, include: str, packages: str) -> str:
    """The CMake `text` with the build machine's include and site-packages folders replaced by this environment's."""
    text = re.sub(BUILD_MACHINE_PYTHON + r"/include/python3\.\d+", lambda _: include, text)
    return re.sub(BUILD_MACHINE_PYTHON + r"/lib/python3\.\d+/site-packages", lambda _: packages, text)


def main() -> None:
    """Rewrites every CMake file below the environment's `share` folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment", type=Path, help="the virtual environment whose Python runs this")
    share = parser.parse_args().environment / "share"
    include, packages = sysconfig.get_path("include"), sysconfig.get_path("platlib")
    for path in share.rglob("*.cmake"):
        before = path.read_text(encoding="utf-8")
        after = relocate(before, include, packages)
        if after != before:
            # uv links installed files to its cache: a new file leaves the cached one, which others share, as it was.
            path.unlink()
            path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()

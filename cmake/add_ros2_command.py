"""Puts upstream's `ros2` command, launch and launch_ros beside the ROS 2 wheels of an environment.

They are pure Python and in no registry, so they come from their repositories: from a folder with clones of them, or
from an address below which they are. `composition_interfaces`, which launch_ros imports, is compiled.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "ros2cli": (
        "ros2action", "ros2cli", "ros2component", "ros2doctor", "ros2interface", "ros2lifecycle", "ros2multicast",
        "ros2node", "ros2param", "ros2pkg", "ros2run", "ros2service", "ros2topic",
    ),
    "launch": ("launch", "launch_xml", "launch_yaml"),
    "launch_ros": ("launch_ros", "ros2launch"),
    "rosidl_runtime_py": ("",),
}  # fmt: skip
"""Python packages by repository; the empty name is the repository itself."""

INTERFACES = ("rcl_interfaces", "composition_interfaces")
"""Repository and folder of the interfaces that launch_ros needs."""

# ROS_VERSION stays unset: with it, `make` would take these wheels for a distribution that somebody else installed.
ACTIVATION = """\
# Makes `ros2` and this package known to a shell: . {environment}/setup.bash
export ROS_DISTRO={distribution} ROS_PYTHON_VERSION=3
export AMENT_PREFIX_PATH={environment} PATH={environment}/bin:$PATH
if [ -n "${{BASH_VERSION:-}}" ]; then eval "$(register-python-argcomplete ros2 2> /dev/null)"; fi
"""


def repository_address(sources: str, repository: str) -> str:
    """Where git finds a repository below `sources`, a folder or an address."""
    folder = Path(sources).expanduser() / repository
    return folder.absolute().as_uri() if folder.exists() else f"{sources.rstrip('/')}/{repository}"


def requirements(sources: str, branch: str) -> list[str]:
    """What pip is to install, as direct references."""
    found = []
    for repository, packages in PACKAGES.items():
        address = f"git+{repository_address(sources, repository)}@{branch}"
        found += [f"{name or repository} @ {address}{f'#subdirectory={name}' if name else ''}" for name in packages]
    return found


def compile_interfaces(sources: str, branch: str, environment: Path, build: Path) -> None:
    """Compiles and installs `composition_interfaces` into the environment."""
    repository, package = INTERFACES
    if (environment / "share" / package).exists():
        return
    clone = build / repository
    if not clone.exists():
        address = repository_address(sources, repository)
        _run("git", "clone", "--quiet", "--depth", "1", "--branch", branch, address, str(clone))
    configure = (
        "-DBUILD_TESTING=OFF",
        f"-DCMAKE_INSTALL_PREFIX={environment}",
        f"-DPython3_EXECUTABLE={sys.executable}",
    )
    _run("cmake", "-S", str(clone / package), "-B", str(build / package), *configure)
    _run("cmake", "--build", str(build / package), "--parallel", "--target", "install")


def _run(*command: str) -> None:
    """Runs a command; what it prints is shown when it fails, which raises CalledProcessError."""
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603
    if ended.returncode:
        print(ended.stdout[-4000:], file=sys.stderr)
        ended.check_returncode()


def main() -> int:
    """Into the environment whose Python runs this."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", help="folder with clones of the repositories, or the address below which they are")
    parser.add_argument("--branch", required=True, help="of the repositories: the distribution's name")
    parser.add_argument("--uv", default="uv", help="uv's executable")
    parser.add_argument("--build", type=Path, required=True, help="folder for what is compiled")
    arguments = parser.parse_args()
    environment = Path(sys.prefix)
    os.environ["PATH"] = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    pip = (arguments.uv, "pip", "install", "--python", sys.executable)
    try:
        # What they need from the registry is in pyproject.toml: what they say of themselves names ROS packages.
        _run(*pip, "--no-deps", "--no-build-isolation", *requirements(arguments.sources, arguments.branch))
        compile_interfaces(arguments.sources, arguments.branch, environment, arguments.build)
    except subprocess.CalledProcessError as error:
        print(f"the ros2 command was not installed: {error.cmd[0]} failed, see above; is {arguments.sources} "
              f"right, with a branch {arguments.branch} in each repository?", file=sys.stderr)  # fmt: skip
        return 1
    text = ACTIVATION.format(environment=environment, distribution=arguments.branch)
    (environment / "setup.bash").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What is installed: Python, libraries, the accelerator, ROS, and whether they fit together. Needs no ROS."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping

from jepa_tools.doctor.finding import Finding, ok, problem, unknown, warning

TESTED_DISTRIBUTIONS = ("jazzy", "kilted")
IMPORT_SECONDS = 120.0

_PACKAGES = {
    "numpy": "",
    "torch": "",
    "timm": "",
    "einops": "",
    "safetensors": "",
    "opencv-python-headless": "",
    "pin": "inverse kinematics: the planner needs it",
    "ruckig": "jerk-limited motion: the planner and the simulator need it",
    "mujoco": "the simulated table needs it",
}
# Imports one compiled message: where its numpy does not fit, this fails or ends the process.
_MESSAGE_PROBE = "from {module} import {name} as message; message.__class__.__import_type_support__(); print('fits')"


def python_and_packages() -> Iterator[Finding]:
    """Python's version and the libraries'."""
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        yield ok("Python", f"{version} ({sys.executable})")
    else:
        yield problem("Python", f"{version}, tested are 3.11 and 3.12", "make PYTHON=python3.12")
    for name, purpose in _PACKAGES.items():
        yield _package(name, purpose)


def _package(name: str, purpose: str) -> Finding:
    try:
        return ok(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        if name.startswith("opencv") and importlib.util.find_spec("cv2") is not None:
            return ok(name, "another build of OpenCV is installed")
        remedy = f"pip install {name}, or `make` in a clone"
        if purpose:
            return warning(name, f"not installed; {purpose}", remedy)
        return problem(name, "not installed", remedy)


def accelerator(device: str) -> Iterator[Finding]:
    """Whether torch can use what the parameters ask for. ``device``: such as cpu or cuda; empty asks for nothing."""
    if importlib.util.find_spec("torch") is None:
        yield unknown("CUDA", "torch is not installed", "pip install torch")
        return
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield ok("CUDA", f"{', '.join(names)}; torch {torch.__version__} for CUDA {torch.version.cuda}")
    elif device.startswith("cuda"):
        yield problem(
            "CUDA", f"asked for {device}, torch sees no GPU: {_why_no_cuda()}", "device:=cpu, or see the cause"
        )
    else:
        yield unknown("CUDA", f"no GPU ({_why_no_cuda()}); planning runs on the CPU")


def _why_no_cuda() -> str:
    import torch

    if torch.version.cuda is None:
        return "this torch is built for CPUs only"
    return "no NVIDIA driver or no device was found"


def ros_installation(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Distribution, middleware and settings of ROS."""
    if importlib.util.find_spec("rclpy") is None:
        yield unknown(
            "ROS",
            "rclpy is not there: nodes cannot run, everything else can",
            "source /opt/ros/jazzy/setup.bash, or `make`",
        )
        return
    yield _distribution(environment)
    yield from _middleware(environment)
    yield ok("ROS domain", f"{environment.get('ROS_DOMAIN_ID', '0')} (every process must have the same ROS_DOMAIN_ID)")
    if environment.get("ROS_LOCALHOST_ONLY") == "1" or environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "LOCALHOST":
        yield warning(
            "ROS network",
            "this process only sees nodes on this machine",
            "fine for the simulator; for a robot on another machine set ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET",
        )


def _distribution(environment: Mapping[str, str]) -> Finding:
    name = environment.get("ROS_DISTRO") or _wheel_distribution()
    if name in TESTED_DISTRIBUTIONS:
        return ok("ROS distribution", name)
    return warning(
        "ROS distribution", f"{name or 'unknown'}; tested are {', '.join(TESTED_DISTRIBUTIONS)}", "take one of those"
    )


def _wheel_distribution() -> str:
    """The distribution of ROS wheels in this environment; empty when there are none."""
    for name in TESTED_DISTRIBUTIONS:
        try:
            importlib.metadata.version(f"ros-{name}-rclpy")
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    return ""


def _middleware(environment: Mapping[str, str]) -> Iterator[Finding]:
    name = environment.get("RMW_IMPLEMENTATION", "")
    done = _run("from rclpy.utilities import get_rmw_implementation_identifier as name; print(name())")
    if done.returncode:
        wanted = f" (RMW_IMPLEMENTATION={name})" if name else ""
        yield problem(
            "ROS middleware", f"does not load{wanted}: {_last_line(done)}", "install it, or unset RMW_IMPLEMENTATION"
        )
    elif done.stdout.strip() == "rmw_fastrtps_cpp":
        yield ok("ROS middleware", done.stdout.strip())
    else:
        yield warning(
            "ROS middleware", f"{done.stdout.strip()}; tested is rmw_fastrtps_cpp", "see `docs/troubleshooting.md`"
        )


def message_libraries() -> Iterator[Finding]:
    """Whether the compiled messages load beside this numpy. Each in a process of its own, because some end it."""
    if importlib.util.find_spec("rclpy") is None:
        yield unknown("ROS messages", "rclpy is not there")
        return
    for module, name, remedy in (
        ("sensor_msgs.msg", "Image", "with a sourced ROS: pip install 'numpy<2'; with wheels: `make`"),
        ("jepa_ros.msg", "Latent", "compile the interfaces: `make`, or `colcon build` and source install/setup.bash"),
    ):
        done = _run(_MESSAGE_PROBE.format(module=module, name=name))
        if done.returncode == 0 and "fits" in done.stdout:
            yield ok(f"{module}.{name}", f"fits numpy {importlib.metadata.version('numpy')}")
        else:
            yield problem(f"{module}.{name}", f"does not load: {_last_line(done)}", remedy)


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - this very interpreter and code from above
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
    return lines[-1] if lines else f"the process ended with code {done.returncode}"

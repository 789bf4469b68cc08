"""The files that describe the package to colcon, pip and ROS agree with what is there."""

import ast
import configparser
import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text()
PACKAGES = sorted(path.parent.name for path in ROOT.glob("jepa_*/__init__.py"))


def executables() -> dict[str, str]:
    """The entry points of setup.cfg by name."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    return {name.strip(): target.strip() for name, target in (line.split("=") for line in lines)}


def test_ros2_run_finds_the_nodes():
    assert {"encoder", "predictor", "planner", "sim", "send_goal", "record"} <= set(executables())


@pytest.mark.parametrize(("name", "target"), executables().items())
def test_every_executable_has_its_function(name, target):
    module, function = target.split(":")
    specification = importlib.util.find_spec(module)
    assert specification is not None, f"{name} needs {module}"
    assert re.search(rf"^def {function}\(", Path(specification.origin).read_text(), re.MULTILINE)


@pytest.mark.parametrize("package", PACKAGES)
def test_cmake_installs_every_python_package(package):
    assert re.search(rf"\b{package}\b", CMAKE)


@pytest.mark.parametrize(
    "interface",
    sorted(path.relative_to(ROOT).as_posix() for kind in ("msg", "srv", "action") for path in ROOT.glob(f"{kind}/*.*")),
)
def test_cmake_generates_every_interface(interface):
    assert f'"{interface}"' in CMAKE


def test_the_versions_of_python_are_the_same_everywhere():
    lowest, beyond = re.search(
        r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text()
    ).groups()
    versions = " or ".join(f"3.{minor}" for minor in range(int(lowest), int(beyond)))
    for name in ("README.md", "docs/quick-start.md", "package.xml", "Makefile"):
        assert f"Python {versions}" in (ROOT / name).read_text(), name


def test_package_xml_has_format_3_the_licence_and_the_optional_dependencies():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    dependencies = {element.text for element in package if element.tag.endswith("depend")}
    assert package.get("format") == "3"
    assert package.findtext("license") == "Apache-2.0"
    assert {"rclpy", "simulation_interfaces", "gazebo_msgs", "trajectory_msgs", "action_msgs"} <= dependencies


@pytest.mark.parametrize("package", PACKAGES)
def test_every_interface_package_that_is_imported_is_declared(package):
    declared = (ROOT / "package.xml").read_text()
    imported = {
        match
        for path in (ROOT / package).rglob("*.py")
        for match in re.findall(r"^\s*from (\w+_msgs|\w+_interfaces|rclpy)\b", path.read_text(), re.MULTILINE)
    }
    assert {name for name in imported if f">{name}<" not in declared} == set()


def test_only_the_command_line_itself_is_loose_in_jepa_tools():
    assert {path.name for path in (ROOT / "jepa_tools").glob("*.py")} == {"__init__.py", "__main__.py", "cli.py"}


def test_launch_files_and_what_they_import_need_no_other_folder_of_jepa_tools():
    files = [*(ROOT / "launch").glob("*.py"), *(ROOT / "jepa_tools" / "bring_up").glob("*.py")]
    imported = {name for path in files for name in re.findall(r"\bjepa_tools\.(\w+)", path.read_text())}
    assert imported == {"bring_up"}


def test_pip_installs_what_python_packages_read_beside_their_code():
    patterns = ast.literal_eval(re.search(r'package_data=\{"": (\[.*?\])\}', (ROOT / "setup.py").read_text()).group(1))
    beside = [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert beside
    assert not [path.name for path in beside if not any(fnmatch(path.name, pattern) for pattern in patterns)]

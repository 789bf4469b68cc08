import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
specification = importlib.util.spec_from_file_location("relocate_wheels", ROOT / "cmake" / "relocate_wheels.py")
relocate_wheels = importlib.util.module_from_spec(specification)
specification.loader.exec_module(relocate_wheels)

WHEEL = (
    'INCLUDES "/opt/python/cp311-cp311/include/python3.11;/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy"'
)


def test_the_build_machines_paths_become_the_environments():
    moved = relocate_wheels.relocate(WHEEL, "/usr/include/python3.11", "/venv/site-packages")
    assert moved == 'INCLUDES "/usr/include/python3.11;/venv/site-packages/numpy"'


def test_doing_it_again_changes_nothing():
    once = relocate_wheels.relocate(WHEEL, "/include", "/packages")
    assert relocate_wheels.relocate(once, "/include", "/packages") == once

"""Which off-screen renderer is chosen."""

import ctypes.util
import os
import subprocess
import sys

import pytest

from jepa_sim.graphics import choose_rendering_backend, rendering_error


def libraries(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so" if name in names else None)


def test_egl_is_preferred_then_osmesa(monkeypatch: pytest.MonkeyPatch):
    libraries(monkeypatch, "EGL", "OSMesa")
    assert choose_rendering_backend({}) == "egl"
    libraries(monkeypatch, "OSMesa")
    assert choose_rendering_backend({}) == "osmesa"


def test_what_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch):
    libraries(monkeypatch, "EGL")
    environment = {"MUJOCO_GL": "glfw", "LP_NUM_THREADS": "4"}
    assert choose_rendering_backend(environment) == "glfw"
    assert environment == {"MUJOCO_GL": "glfw", "LP_NUM_THREADS": "4"}


def test_without_libraries_the_default_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    libraries(monkeypatch)
    assert choose_rendering_backend({}) is None


@pytest.mark.parametrize(("chosen", "library"), [("osmesa", "OSMesa"), ("EGL", "EGL")])
def test_a_chosen_backend_without_its_library_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, chosen, library):
    libraries(monkeypatch)
    with pytest.raises(ImportError, match=f"MUJOCO_GL={chosen}: the library {library} is not installed"):
        choose_rendering_backend({"MUJOCO_GL": chosen})


def test_a_window_without_a_display_is_named():
    reason = RuntimeError("an OpenGL platform\n library")
    assert "there is no display" in str(rendering_error(reason, {"MUJOCO_GL": "glfw"}))
    for environment in ({"MUJOCO_GL": "glfw", "DISPLAY": ":0"}, {"MUJOCO_GL": "egl"}, {}):
        assert "an OpenGL platform library" in str(rendering_error(reason, environment))


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("glfw", "there is no display"),
        ("disable", "no pictures can be rendered with MUJOCO_GL=disable"),
        ("x", "MUJOCO_GL"),
    ],
)
def test_a_command_that_cannot_render_ends_with_a_sentence(tmp_path, backend, words):
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "jepa_tools", "collect", "--out", str(tmp_path / "out"), "--episodes", "1"]
    done = subprocess.run(
        command, env=environment | {"MUJOCO_GL": backend}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "jepa collect: " in done.stderr and words in done.stderr and "Traceback" not in done.stderr

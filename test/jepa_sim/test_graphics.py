"""Which off-screen renderer is chosen."""

import ctypes.util
import sys

import pytest

from jepa_sim.graphics import choose_rendering_backend


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

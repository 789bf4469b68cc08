"""Which simulator services this installation can speak, and how to reach a simulator with them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping

from rclpy.node import Node

from jepa_sim.backends.protocol import ServiceCaller, SimulatorBackend

_MODULES: Mapping[str, tuple[str, str, str]] = {
    "gazebo_msgs": ("jepa_sim.backends.gazebo_classic", "GazeboClassicClient", "GazeboClassicServer"),
    "simulation_interfaces": (
        "jepa_sim.backends.simulation_interfaces",
        "SimulationInterfacesClient",
        "SimulationInterfacesServer",
    ),
}

BACKENDS = tuple(_MODULES)
"""Interface packages that simulators are driven with."""


def available_backends() -> tuple[str, ...]:
    """Those of `BACKENDS` whose messages are installed."""
    return tuple(name for name in BACKENDS if importlib.util.find_spec(name) is not None)


def serve_backends(node: Node, backend: SimulatorBackend) -> tuple[str, ...]:
    """Serves every kind of services whose package is installed; returns the packages' names."""
    for name in available_backends():
        module, _, server = _MODULES[name]
        getattr(importlib.import_module(module), server)(node, backend)
    return available_backends()


def connect(name: str, call: ServiceCaller, prefix: str | None = None) -> SimulatorBackend:
    """A simulator elsewhere.

    Args:
        name: one of `BACKENDS`.
        call: calls a service.
        prefix: of the services' names; the usual one of the simulator when left out.

    Raises:
        ValueError: an unknown name.
        ModuleNotFoundError: its package is not installed.
    """
    if name not in _MODULES:
        raise ValueError(f"expected a simulator backend of {', '.join(BACKENDS)}, got {name!r}")
    module, client, _ = _MODULES[name]
    options = {} if prefix is None else {"prefix": prefix}
    backend: SimulatorBackend = getattr(importlib.import_module(module), client)(call, **options)
    return backend

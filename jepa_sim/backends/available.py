"""Which simulator services this installation can speak, and how to reach a simulator with them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

from jepa_common.registry import Registry
from jepa_sim.backends.protocol import ServiceCaller, SimulatorBackend


@dataclass(frozen=True)
class BackendKind:
    """One set of services that simulators are driven with.

    Attributes:
        client: makes the simulator behind the services of a `ServiceCaller`; takes ``prefix``, which stands before the
            services' names.
        serve: offers the services of a node for a backend; None where this package's simulator does not speak them.
    """

    client: Callable[..., SimulatorBackend]
    serve: Callable[[Node, SimulatorBackend], Any] | None = None


BACKENDS: Registry[BackendKind] = Registry(
    "jepa_ros.simulator_backends",
    "simulator backend",
    {
        "gazebo_msgs": "jepa_sim.backends.gazebo_classic:BACKEND",
        "simulation_interfaces": "jepa_sim.backends.simulation_interfaces:BACKEND",
    },
)
"""By the package of its interfaces, or by the name that another package gives its own."""


def available_backends() -> tuple[str, ...]:
    """Those of this package whose messages are installed, and those of other packages."""
    return tuple(
        name for name in BACKENDS.names() if name not in BACKENDS.own or importlib.util.find_spec(name) is not None
    )


def serve_backends(node: Node, backend: SimulatorBackend) -> tuple[str, ...]:
    """Serves every kind of services that can be served here; returns their names."""
    kinds = {name: BACKENDS.load(name) for name in available_backends()}
    served = {name: kind.serve for name, kind in kinds.items() if kind.serve is not None}
    for serve in served.values():
        serve(node, backend)
    return tuple(served)


def connect(name: str, call: ServiceCaller, prefix: str | None = None) -> SimulatorBackend:
    """A simulator elsewhere.

    Args:
        name: one of `BACKENDS`.
        call: calls a service.
        prefix: of the services' names; the usual one of the simulator when left out.

    Raises:
        UnknownNameError: there is none of that name.
        ModuleNotFoundError: its package is not installed.
    """
    client = BACKENDS.load(name).client
    return client(call) if prefix is None else client(call, prefix=prefix)

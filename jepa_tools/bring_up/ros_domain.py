"""A ROS domain for one run: what it starts meets no other node on this machine or in the network.

A demo that shared a domain with a robot's driver would move the robot; so a run takes a domain that nobody
uses and keeps its traffic on this machine.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HIGHEST_DOMAIN = 101
"""Above it, the ports of DDS run into those that Linux hands out."""

_FIRST_PORT, _PORTS_PER_DOMAIN, _UNICAST_OFFSET = 7400, 250, 10  # DDSI-RTPS 2.2, section 9.6.1.1


class NoFreeDomainError(RuntimeError):
    """Every ROS domain of this machine is in use."""


def domain_environment(domain: int, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environment` with the variables that keep a ROS process in `domain` and on this machine."""
    isolated = {name: value for name, value in environment.items() if name != "ROS_LOCALHOST_ONLY"}
    return isolated | {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


@contextmanager
def reserved_domain(folder: Path | None = None) -> Iterator[int]:
    """A domain that no other ROS process on this machine uses, reserved while the block runs.

    Args:
        folder: where the lock files are; by default one for all users' runs in the system's temporary folder.

    Raises:
        NoFreeDomainError: all are in use.
    """
    locks = folder or Path(tempfile.gettempdir()) / f"jepa_ros_domains_{os.getuid()}"
    locks.mkdir(parents=True, exist_ok=True)
    for domain in range(HIGHEST_DOMAIN, 0, -1):
        with (locks / str(domain)).open("w") as lock:
            if _try_lock(lock.fileno()) and not _is_used(domain):
                yield domain
                return
    raise NoFreeDomainError(
        f"expected a free ROS domain from 1 to {HIGHEST_DOMAIN}, all are in use: end some ROS processes"
    )


@contextmanager
def isolated_ros_domain() -> Iterator[int]:
    """A reserved domain that this process, and what it starts, is in while the block runs."""
    with reserved_domain() as domain:
        before = dict(os.environ)
        _replace_environment(domain_environment(domain))
        try:
            yield domain
        finally:
            _replace_environment(before)


def _replace_environment(values: Mapping[str, str]) -> None:
    for name in set(os.environ) - set(values):
        del os.environ[name]
    os.environ.update(values)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_used(domain: int) -> bool:
    """Whether some process receives at the port of the domain's first participant."""
    port = _FIRST_PORT + _PORTS_PER_DOMAIN * domain + _UNICAST_OFFSET
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False

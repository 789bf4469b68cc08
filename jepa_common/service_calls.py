"""Calling a service from a worker thread while another thread spins the node."""

from __future__ import annotations

import threading
from typing import Any

from rclpy.client import Client


class ServiceCallError(RuntimeError):
    """The service is not there or did not answer in time; the message names it."""


def call_and_wait(client: Client, request: Any, timeout_seconds: float) -> Any:
    """Calls the service and waits for the response; never to be called on the executor's thread.

    Args:
        client: of a node that another thread spins.
        request: the service's request message.
        timeout_seconds: longest wait, wall time, for the service to be there and to answer.

    Raises:
        ServiceCallError: no such service, or no answer in time.
    """
    if not client.service_is_ready():
        raise ServiceCallError(f"service {client.srv_name} is not there: is its node running and configured?")
    answered = threading.Event()
    future = client.call_async(request)
    future.add_done_callback(lambda _: answered.set())
    if not answered.wait(timeout_seconds):
        client.remove_pending_request(future)
        raise ServiceCallError(f"service {client.srv_name} did not answer within {timeout_seconds:.1f} s")
    return future.result()

"""The `main` of every node: start, spin, and end cleanly on Ctrl-C or SIGTERM."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from jepa_common.managed_node import ManagedNode, NodeStartError

EXIT_CANNOT_START = 1
EXIT_BAD_PARAMETER = 2


def run_node(make_node: Callable[[], Node], arguments: Sequence[str] | None = None) -> int:
    """Runs the node that `make_node` makes until it is told to end.

    Args:
        make_node: called after ROS is initialised; usually the node's class.
        arguments: the command line, ROS arguments included; `None` takes the process's own.

    Returns:
        The exit code: 0 after Ctrl-C or SIGTERM, 1 when `autostart` was asked for and the node could not be
        configured or activated, 2 when a parameter has a value that it must not have.
    """
    rclpy.init(args=None if arguments is None else list(arguments))
    try:
        _spin(make_node())
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except NodeStartError:
        return EXIT_CANNOT_START  # the node has logged the reason
    except ParameterException as error:
        print(f"parameters: {error}", file=sys.stderr)
        return EXIT_BAD_PARAMETER
    except RuntimeError as error:
        # Told to end while the node was being made, or while rclpy made a message of what came.
        if rclpy.ok():
            raise
        print(f"ended by a signal, in the middle of something: {error}", file=sys.stderr)
        return 0
    finally:
        rclpy.try_shutdown()
    return 0


def _spin(node: Node) -> None:
    # rclpy's EventsExecutor would cost less, but in Jazzy and Kilted it does not return on a signal.
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        _start(node)
        executor.spin()
    finally:
        node.destroy_node()


def _start(node: Node) -> None:
    if not isinstance(node, ManagedNode):
        return
    if node.get_parameter("autostart").value:
        node.start()
    else:
        node.get_logger().info("waits to be configured and activated (or start it with autostart:=true)")

"""Whether more than one node publishes on a topic, or answers a service, that only one may."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo

# A process that was killed stays in the graph until its lease ends, beside the one that was started in its place, s.
LEASE_SECONDS = 25.0


class PublisherWatch:
    """Looks at the publishers of some topics. Not thread-safe.

    Two publishers of different nodes are one too many at once; two of nodes of the same name only when the one before
    had time to disappear, because a node that starts again is there twice for a while.
    """

    def __init__(self, node: Node, topics: Sequence[str], services: Sequence[str] = ()) -> None:
        """``topics`` and ``services`` are resolved and remapped as those of ``node``."""
        self._node, self._services = node, tuple(services)
        self._names = (*topics, *services)
        self._doubled_since: dict[str, float] = {}

    def intruder(self, now: float) -> str:
        """Which topic has a publisher too many at ``now``, s of a steady clock, and whose; empty when none has."""
        return next((reason for name in self._names if (reason := self._judge(name, now))), "")

    def _judge(self, name: str, now: float) -> str:
        found = sorted(self._answering(name) if name in self._services else self._publishing(name))
        if len(found) < 2:
            self._doubled_since.pop(name, None)
            return ""
        since = self._doubled_since.setdefault(name, now)
        if len(set(found)) == 1 and now - since < LEASE_SECONDS:
            return ""
        what = "server" if name in self._services else "publisher"
        return f"{name}: expected one {what}, there are {len(found)}: {', '.join(found)}"

    def _publishing(self, topic: str) -> list[str]:
        return _full_names(self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic)))

    def _answering(self, service: str) -> list[str]:
        # What a server answers goes over a topic of its own, by the naming of ROS on DDS.
        topic = f"rr{self._node.resolve_service_name(service)}Reply"
        return _full_names(self._node.get_publishers_info_by_topic(topic, no_mangle=True))


def _full_names(endpoints: Sequence[TopicEndpointInfo]) -> list[str]:
    return [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in endpoints]

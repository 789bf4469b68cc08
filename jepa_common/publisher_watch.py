"""Whether more than one node publishes on a topic, or answers a service, that only one may."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo

# A process that was killed stays in the graph until its lease ends, beside the one that was started in its place, s.
LEASE_SECONDS = 25.0
# The graph learns of an endpoint a moment before it learns the node's name, s.
_NAMELESS_SECONDS = 0.3
_NAMELESS = "_NODE_NAME_UNKNOWN_"


class PublisherWatch:
    """Looks at the publishers of some topics. Not thread-safe.

    Two publishers of different nodes are one too many at once; two of nodes of the same name only when the one before
    had time to disappear, because a node that starts again is there twice for a while.
    """

    def __init__(self, node: Node, topics: Sequence[str], services: Sequence[str] = ()) -> None:
        """``topics`` and ``services`` are resolved and remapped as those of ``node``."""
        self._node, self._services = node, tuple(services)
        self._names = (*topics, *services)
        self._doubled: dict[str, tuple[frozenset[bytes], float]] = {}

    def intruder(self, now: float) -> str:
        """Which topic has a publisher too many at ``now``, s of a steady clock, and whose; empty when none has."""
        return next((reason for name in self._names if (reason := self._judge(name, now))), "")

    def _judge(self, name: str, now: float) -> str:
        endpoints = self._answering(name) if name in self._services else self._publishing(name)
        if len(endpoints) < 2:
            self._doubled.pop(name, None)
            return ""
        # A node that is started a second time within its lease leaves another one behind.
        these = frozenset(bytes(info.endpoint_gid) for info in endpoints)
        since = self._doubled[name][1] if self._doubled.get(name, ("", 0.0))[0] == these else now
        self._doubled[name] = these, since
        if now - since < _patience(endpoints):
            return ""
        found = sorted(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in endpoints)
        what = "server" if name in self._services else "publisher"
        return f"{name}: expected one {what}, there are {len(found)}: {', '.join(found)}"

    def _publishing(self, topic: str) -> Sequence[TopicEndpointInfo]:
        return self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic))

    def _answering(self, service: str) -> Sequence[TopicEndpointInfo]:
        # What a server answers goes over a topic of its own, by the naming of ROS on DDS.
        topic = f"rr{self._node.resolve_service_name(service)}Reply"
        return self._node.get_publishers_info_by_topic(topic, no_mangle=True)


def _patience(endpoints: Sequence[TopicEndpointInfo]) -> float:
    """How long these endpoints may be there side by side, s."""
    names = {(info.node_namespace, info.node_name) for info in endpoints if info.node_name != _NAMELESS}
    if len(names) > 1:
        return 0.0
    nameless = any(info.node_name == _NAMELESS for info in endpoints)
    return _NAMELESS_SECONDS if nameless else LEASE_SECONDS

"""Whether more than one node publishes on a topic that only one may."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node

# A process that was killed stays in the graph until its lease ends, beside the one that was started in its place, s.
LEASE_SECONDS = 25.0


class PublisherWatch:
    """Looks at the publishers of some topics. Not thread-safe.

    Two publishers of different nodes are one too many at once; two of nodes of the same name only when the one before
    had time to disappear, because a node that starts again is there twice for a while.
    """

    def __init__(self, node: Node, topics: Sequence[str]) -> None:
        """``topics`` are resolved and remapped as those of ``node``."""
        self._node, self._topics = node, tuple(topics)
        self._doubled_since: dict[str, float] = {}

    def intruder(self, now: float) -> str:
        """Which topic has a publisher too many at ``now``, s of a steady clock, and whose; empty when none has."""
        return next((reason for topic in self._topics if (reason := self._judge(topic, now))), "")

    def _judge(self, topic: str, now: float) -> str:
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic))
        names = sorted(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in publishers)
        if len(names) < 2:
            self._doubled_since.pop(topic, None)
            return ""
        since = self._doubled_since.setdefault(topic, now)
        if len(set(names)) == 1 and now - since < LEASE_SECONDS:
            return ""
        return f"{topic}: expected one publisher, there are {len(names)}: {', '.join(names)}"

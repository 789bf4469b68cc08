"""One too many on a topic is noticed; a node that starts again, even twice, is not taken for that."""

from __future__ import annotations

from typing import Any

import rclpy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from jepa_common.publisher_watch import LEASE_SECONDS, PublisherWatch


def other(nodes: Any, name: str) -> Any:
    """Another node, with a publisher of `text` and a server of `ask`."""
    node = nodes.add(rclpy.create_node(name, context=nodes.client.context))
    nodes.run(lambda: (node.create_publisher(String, "text", 1), node.create_service(Trigger, "ask", lambda _, r: r)))
    return node


def there_are(nodes: Any, count: int) -> None:
    def found() -> bool:
        infos = nodes.client.get_publishers_info_by_topic("/text")
        return len(infos) == count and not any("UNKNOWN" in info.node_name for info in infos)

    nodes.wait_until(found, f"{count} publishers in the graph")
    nodes.wait_until(lambda: nodes.client.count_services("ask") == count, f"{count} servers in the graph")


def test_another_node_is_one_too_many_at_once(nodes: Any):
    watch = PublisherWatch(nodes.client, ["text"])
    services = PublisherWatch(nodes.client, [], ["ask"])
    other(nodes, "first")
    there_are(nodes, 1)
    assert watch.intruder(0.0) == services.intruder(0.0) == ""
    other(nodes, "second")
    there_are(nodes, 2)
    assert watch.intruder(0.1) == "text: expected one publisher, there are 2: /first, /second"
    assert services.intruder(0.1) == "ask: expected one server, there are 2: /first, /second"


def test_a_node_that_starts_again_has_time_to_leave_the_graph_each_time(nodes: Any):
    watch = PublisherWatch(nodes.client, ["text"], ["ask"])
    for number in range(3):
        other(nodes, "same")
        there_are(nodes, number + 1)
        assert watch.intruder(number * 20.0) == ""
        assert watch.intruder(number * 20.0 + 19.0) == ""
    assert "there are 3: /same, /same, /same" in watch.intruder(40.0 + LEASE_SECONDS)

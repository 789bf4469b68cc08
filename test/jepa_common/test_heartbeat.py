"""Signs of life: a node that stops giving them is missed, one that says goodbye is not."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Header

from jepa_common.heartbeat import Heartbeat, PeerWatch, heartbeat_qos
from jepa_common.life_signs import AwakeClock
from jepa_common.managed_node import ManagedNode
from jepa_common.parameters import parameter

EXAMPLE = Path(__file__).with_name("example_node.py")


@dataclass(frozen=True)
class NoParameters:
    unused: int = parameter(0, "Nothing")


class SetClock:
    """A clock that a test sets, s."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_time_in_which_nobody_looked_does_not_count():
    time = SetClock()
    clock = AwakeClock(time)
    for _ in range(10):
        time.time += 0.1
        clock.advance()
    time.time += 60.0  # the process got no time
    assert 1.0 <= clock.advance() <= 1.3


def test_a_peer_that_falls_silent_is_named_until_it_beats_again_or_says_goodbye(nodes: Any):
    time = SetClock()
    watch = PeerWatch(nodes.client, silence=0.7, clock=time)

    def passes(seconds: float) -> dict[str, str]:
        for _ in range(round(seconds * 10)):
            time.time += 0.1
            watch.silent()
        return watch.silent()

    beat = Header(frame_id="/cell/predictor")
    beat.stamp.sec = 1
    watch.heard(beat)
    assert passes(0.6) == {}
    assert "cell/predictor: no sign of life for 0." in passes(0.2)["predictor"]
    watch.heard(beat)
    assert passes(0.3) == {}
    watch.heard(Header(frame_id="/cell/predictor"))
    assert passes(5.0) == {}


def test_made_up_names_do_not_fill_the_memory(nodes: Any):
    watch = PeerWatch(nodes.client, silence=0.7)
    for number in range(1000):
        beat = Header(frame_id=f"/node_{number}")
        beat.stamp.sec = 1
        watch.heard(beat)
    assert len(watch._heard) < 100


def test_a_stopped_process_is_reported_stale_by_the_others_and_well_again_when_it_goes_on(nodes: Any, processes: Any):
    watcher = nodes.make(lambda **options: ManagedNode("watcher", NoParameters, **options))
    reports = nodes.collect(DiagnosticArray, "/diagnostics", 10)
    beats = nodes.collect(Header, "heartbeat", heartbeat_qos())
    process = processes.start_file(EXAMPLE)
    nodes.wait_until(lambda: any(beat.frame_id == "/example" for beat in beats), "a beat")
    process.send_signal(signal.SIGSTOP)
    nodes.wait_until(lambda: "example" in watcher.silent_peers, "the silence to be noticed")

    def told() -> list[DiagnosticStatus]:
        statuses = [status for report in reports for status in report.status]
        return [s for s in statuses if s.name == "example: state" and s.level == DiagnosticStatus.STALE]

    nodes.wait_until(told, "diagnostics about it")
    assert "no sign of life" in told()[0].message
    process.send_signal(signal.SIGCONT)
    nodes.wait_until(lambda: not watcher.silent_peers, "its return")


def test_a_node_that_ends_says_so(nodes: Any):
    beats = nodes.collect(Header, "heartbeat", heartbeat_qos())
    node = nodes.make(lambda **options: Node("short_lived", **options))
    heart = Heartbeat(node)
    nodes.wait_until(lambda: beats, "a beat")
    nodes.run(heart.end)
    nodes.wait_until(lambda: beats[-1] == Header(frame_id="/short_lived"), "a goodbye")

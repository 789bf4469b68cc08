import gc
import importlib.util
import signal
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.parameter import Parameter
from std_msgs.msg import String

from jepa_common.managed_node import NodeStartError
from jepa_common.qos_profiles import latest_qos

EXAMPLE = Path(__file__).with_name("example_node.py")


def load_example():
    specification = importlib.util.spec_from_file_location("example_node", EXAMPLE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.ExampleNode


ExampleNode = load_example()


def change_state(nodes, transition: int, node: str = "example") -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return nodes.call(ChangeState, f"{node}/change_state", request).success


def test_it_answers_only_while_active(nodes):
    node = nodes.make(ExampleNode)
    answers = nodes.collect(String, "answer", latest_qos())
    assert change_state(nodes, Transition.TRANSITION_CONFIGURE)
    assert change_state(nodes, Transition.TRANSITION_ACTIVATE)
    questions = nodes.publisher(String, "question", latest_qos())
    nodes.wait_until(lambda: node.count_subscribers("answer"), "a reader of the answers")
    questions.publish(String(data="hello"))
    nodes.wait_until(lambda: answers, "the answer")
    assert change_state(nodes, Transition.TRANSITION_DEACTIVATE)
    questions.publish(String(data="anyone there?"))
    assert nodes.call(GetState, "example/get_state", GetState.Request()).current_state.label == "inactive"
    assert [answer.data for answer in answers] == ["hello"]


def test_everything_is_undone_in_reverse_order(nodes):
    node = nodes.make(ExampleNode)
    nodes.run(node.start)
    node.trigger_deactivate()
    assert node.undone == ["activate"]
    node.trigger_cleanup()
    assert node.undone == ["activate", "configure"]
    nodes.run(node.start)
    assert node.is_active


def test_others_see_no_more_of_a_node_that_was_destroyed(nodes):
    # Its own process may go on, and may not collect garbage for a long time.
    context = rclpy.Context()
    rclpy.init(context=context)
    gc.disable()
    try:
        node = ExampleNode(context=context)
        nodes.wait_until(lambda: "example" in nodes.client.get_node_names(), "the node")
        node.destroy_node()
        nodes.wait_until(lambda: "example" not in nodes.client.get_node_names(), "the end of the node")
    finally:
        gc.enable()
        context.try_shutdown()


def test_a_failed_configure_says_why_and_leaves_the_node_ready_for_another_try(nodes):
    node = nodes.make(ExampleNode, model="bad")
    with pytest.raises(NodeStartError, match="cannot configure: expected a good model, got a bad one"):
        nodes.run(node.start)
    assert node.undone == ["configure"]
    assert node.state_name == "unconfigured"
    assert node.set_parameters([Parameter("model", value="good")])[0].successful
    nodes.run(node.start)
    assert node.is_active


def test_a_programming_error_in_configure_is_logged_and_the_node_lives(nodes):
    node = nodes.make(ExampleNode, model="buggy")
    assert not change_state(nodes, Transition.TRANSITION_CONFIGURE)
    assert nodes.call(GetState, "example/get_state", GetState.Request()).current_state.label == "unconfigured"
    assert "a programming error" in node.last_failure


def test_a_transition_that_does_not_exist_is_answered_and_the_node_lives(nodes):
    nodes.make(ExampleNode)
    assert not change_state(nodes, Transition.TRANSITION_ACTIVATE)
    assert not change_state(nodes, 77)
    assert change_state(nodes, Transition.TRANSITION_CONFIGURE)


def test_a_parameter_that_configure_reads_cannot_change_unnoticed(nodes):
    node = nodes.make(ExampleNode)
    nodes.run(node.start)
    result = node.set_parameters([Parameter("model", value="bad")])[0]
    assert not result.successful
    assert "configure again" in result.reason
    assert node.set_parameters([Parameter("prefix", value="re: ")])[0].successful
    assert node.parameters().prefix == "re: "


def test_diagnostics_come_every_second_and_say_the_state(nodes):
    diagnostics = nodes.collect(DiagnosticArray, "/diagnostics", latest_qos())
    node = nodes.make(ExampleNode, model="bad")
    with pytest.raises(NodeStartError):
        nodes.run(node.start)
    nodes.wait_until(lambda: diagnostics, "diagnostics")
    status = diagnostics[-1].status[0]
    assert status.name == "example: state"
    assert status.level == DiagnosticStatus.WARN
    assert "expected a good model" in status.message
    assert {value.key: value.value for value in status.values}["lifecycle"] == "unconfigured"


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_process_ends_cleanly_when_told_to(nodes, processes, signal_number):
    process = processes.start_file(EXAMPLE, ros_parameters={"autostart": True})
    answers = nodes.collect(String, "answer", latest_qos())
    questions = nodes.publisher(String, "question", latest_qos())
    nodes.wait_until(lambda: nodes.client.count_publishers("answer"), "the node's publisher")
    nodes.wait_until(questions.get_subscription_count, "the node's subscription")
    questions.publish(String(data="up?"))
    nodes.wait_until(lambda: answers or process.poll() is not None, "the node's answer")
    process.send_signal(signal_number)
    assert process.wait(60) == 0, processes.output(process)
    assert "Traceback" not in processes.output(process)


def test_a_node_process_that_cannot_start_says_why_and_exits_with_1(processes):
    process = processes.start_file(EXAMPLE, ros_parameters={"autostart": True, "model": "bad"})
    assert process.wait(60) == 1
    assert "cannot configure: expected a good model, got a bad one" in processes.output(process)


def test_a_bad_parameter_is_named_and_the_process_exits_with_2(processes):
    process = processes.start_file(EXAMPLE, ros_parameters={"model": "unheard_of"})
    assert process.wait(60) == 2
    assert "model: expected good or bad or buggy, got 'unheard_of'" in processes.output(process)
    assert "Traceback" not in processes.output(process)


def test_settings_of_a_name_that_it_does_not_have_are_named_and_change_nothing(nodes):
    node = nodes.make(ExampleNode, **{"prefixx": "a", "answers.qos": 3, "prefix": "b", "qos_overrides./answer.x": 1})
    assert node.unknown_overrides() == ["answers.qos", "prefixx"]
    nodes.run(node.start)
    assert node.is_active and node.parameters().prefix == "b"

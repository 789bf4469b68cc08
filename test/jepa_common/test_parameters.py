from dataclasses import dataclass, field

import pytest
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from jepa_common.parameters import declare_parameters, parameter, read_parameters, with_changes


@dataclass(frozen=True)
class Sampler:
    samples: int = parameter(64, "Sequences per iteration", minimum=1, maximum=4096)
    spread: float = parameter(0.05, "Initial standard deviation, m", minimum=0.0)


@dataclass(frozen=True)
class Configuration:
    name: str = parameter("arm", "Name")
    distance: str = parameter("l1", "Distance", choices=("l1", "l2"))
    enabled: bool = parameter(True, "Whether")
    limits: tuple[float, ...] = parameter((1.0, 2.0), "Limits, rad")
    joints: tuple[str, ...] = parameter((), "Joint names")
    sampler: Sampler = field(default_factory=Sampler)


def configured(nodes, **overrides) -> Node:
    def make(**options) -> Node:
        node = Node("configured", **options)
        declare_parameters(node, Configuration)
        return node

    return nodes.make(make, **overrides)


def test_defaults_are_read_back_as_the_dataclass(nodes):
    assert read_parameters(configured(nodes), Configuration) == Configuration()


def test_changes_reach_nested_configurations_and_leave_the_rest():
    changed = with_changes(Configuration(), {"sampler.samples": 8, "limits": [3.0], "unknown": 1})
    assert changed == Configuration(limits=(3.0,), sampler=Sampler(samples=8))


def test_overrides_reach_nested_configurations(nodes):
    node = configured(nodes, **{"sampler.samples": 7, "limits": [3.0], "joints": ["a", "b"]})
    values = read_parameters(node, Configuration)
    assert values.sampler == Sampler(samples=7)
    assert values.limits == (3.0,)
    assert values.joints == ("a", "b")


def test_description_and_range_are_in_the_descriptor(nodes):
    descriptor = configured(nodes).describe_parameter("sampler.samples")
    assert descriptor.description == "Sequences per iteration"
    assert (descriptor.integer_range[0].from_value, descriptor.integer_range[0].to_value) == (1, 4096)


@pytest.mark.parametrize(("name", "value"), [("distance", "l3"), ("sampler.samples", 0), ("sampler.spread", -0.1)])
def test_a_value_that_is_not_allowed_is_refused(nodes, name, value):
    with pytest.raises(InvalidParameterValueException):
        configured(nodes, **{name: value})


def test_a_value_of_another_type_is_refused_by_name(nodes):
    with pytest.raises(InvalidParameterTypeException, match="enabled"):
        configured(nodes, enabled="yes")


def test_a_choice_is_checked_when_it_is_set_later(nodes):
    node = configured(nodes)
    result = node.set_parameters([Parameter("distance", value="l3")])[0]
    assert not result.successful
    assert "expected l1 or l2, got 'l3'" in result.reason


def test_a_field_that_is_no_parameter_is_a_programming_error(nodes):
    @dataclass(frozen=True)
    class Wrong:
        size: int = 3

    with pytest.raises(TypeError, match="size"):
        declare_parameters(nodes.client, Wrong)


def answer(nodes, node: Node) -> dict[str, ParameterValue]:
    """What `ros2 param dump` and a recorder are told: all parameters that are listed, in one request."""
    name = node.get_fully_qualified_name()
    names = nodes.call(ListParameters, f"{name}/list_parameters", ListParameters.Request()).result.names
    values = nodes.call(GetParameters, f"{name}/get_parameters", GetParameters.Request(names=names)).values
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize("overrides", [{}, {"limits": None, "joints": None}, {"name": None, "sampler.samples": None}])
def test_a_parameter_without_a_value_does_not_empty_the_answer(nodes, overrides):
    values = answer(nodes, configured(nodes, **overrides))
    assert values["joints"].type == ParameterType.PARAMETER_STRING_ARRAY
    assert list(values["joints"].string_array_value) == []
    assert values["sampler.samples"].integer_value == 64
    assert values["name"].string_value == "arm"


def test_a_list_that_a_file_leaves_empty_is_empty_whatever_its_default(nodes, tmp_path):
    path = tmp_path / "parameters.yaml"
    path.write_text("/**:\n  ros__parameters:\n    limits: []\n    joints: []\n    sampler: {samples: 9}\n")
    arguments = ["--ros-args", "--params-file", str(path)]
    node = nodes.make(lambda **options: Node("from_file", cli_args=arguments, **options))
    declare_parameters(node, Configuration)
    read = read_parameters(node, Configuration)
    assert (read.limits, read.joints, read.sampler.samples) == ((), (), 9)
    assert answer(nodes, node)["limits"].type == ParameterType.PARAMETER_DOUBLE_ARRAY

"""ROS parameters declared from frozen dataclasses: a node's configuration is one typed, documented value.

    @dataclass(frozen=True)
    class EncoderParameters:
        model: str = parameter("franka-table-small", "Checkpoint: a path, or a name in models/checkpoints")
        threads: int = parameter(1, "Threads of one inference", minimum=1, maximum=64)

    declare_parameters(node, EncoderParameters)
    parameters = read_parameters(node, EncoderParameters)

Fields are `bool`, `int`, `float`, `str`, or a `tuple[..., ...]` of one of them. A field whose type is such a
dataclass again groups its parameters under the field's name and a dot.
"""

from __future__ import annotations

import array
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterUninitializedException
from rclpy.parameter import Parameter

if TYPE_CHECKING:
    from rclpy.node import Node

Configuration = TypeVar("Configuration")

_LARGEST_INTEGER = 2**63 - 1
_LARGEST_FLOAT = 1.7976931348623157e308
_ARRAY_CODES = {int: "q", float: "d"}
_ARRAY_TYPES = {
    bool: Parameter.Type.BOOL_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    str: Parameter.Type.STRING_ARRAY,
}


@dataclass(frozen=True)
class ParameterInfo:
    """What a parameter's descriptor says beyond its name, type and default."""

    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False


def parameter(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A dataclass field that is a ROS parameter.

    Args:
        default: value without an override; tuples for lists.
        description: one line with the unit; `ros2 param describe` shows it.
        minimum: smallest number allowed.
        maximum: largest number allowed.
        choices: the strings allowed; empty allows all.
        live: the node takes a new value at once; otherwise it can only be set while the node is unconfigured.
    """
    info = ParameterInfo(description, minimum, maximum, choices, live)
    return dataclasses.field(default=default, metadata={"parameter": info})


@dataclass(frozen=True)
class DeclaredParameter:
    """One parameter of a configuration: its dotted name, Python type, default and description."""

    name: str
    type: Any
    default: Any
    info: ParameterInfo

    def descriptor(self) -> ParameterDescriptor:
        """The descriptor that ROS tools show and that rclpy enforces."""
        message = ParameterDescriptor(description=self.info.description)
        message.additional_constraints = " or ".join(self.info.choices)
        low, high = self.info.minimum, self.info.maximum
        if low is None and high is None:
            return message
        if self.type is int:
            first, last = (
                -_LARGEST_INTEGER if low is None else low,
                _LARGEST_INTEGER if high is None else high,
            )
            message.integer_range = [IntegerRange(from_value=int(first), to_value=int(last))]
        else:
            first, last = -_LARGEST_FLOAT if low is None else low, _LARGEST_FLOAT if high is None else high
            message.floating_point_range = [FloatingPointRange(from_value=float(first), to_value=float(last))]
        return message

    def default_value(self) -> Any:
        """The default in a form whose ROS type is unambiguous, also for empty lists."""
        if get_origin(self.type) is not tuple:
            return self.type(self.default)
        element = get_args(self.type)[0]
        if not self.default:
            return _ARRAY_TYPES[element]
        return array.array(_ARRAY_CODES[element], self.default) if element in _ARRAY_CODES else list(self.default)

    def without_value(self) -> Parameter:
        """What stands in for an override or a default that has no value: an empty list of its type, or the default.

        ROS cannot tell the type of an empty list, and one parameter that holds nothing empties a node's whole answer
        to everybody who asks for its parameters.
        """
        if get_origin(self.type) is not tuple:
            return Parameter(self.name, value=self.default_value())
        return Parameter(self.name, _ARRAY_TYPES[get_args(self.type)[0]], [])

    def refusal(self, value: Any) -> str:
        """Why `value` is not among the choices; empty when it is."""
        if not self.info.choices or value in self.info.choices:
            return ""
        return f"{self.name}: expected {' or '.join(self.info.choices)}, got {value!r}"


def declared_parameters(configuration: type, prefix: str = "") -> Iterator[DeclaredParameter]:
    """The parameters of a configuration dataclass, nested ones with dotted names.

    Raises:
        TypeError: a field was not made by `parameter` and is no configuration itself.
    """
    hints = get_type_hints(configuration)
    for field in dataclasses.fields(configuration):
        hint, name = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from declared_parameters(hint, f"{name}.")
        elif "parameter" in field.metadata:
            yield DeclaredParameter(name, hint, field.default, field.metadata["parameter"])
        else:
            raise TypeError(f"{configuration.__name__}.{field.name}: expected a default made by parameter(...)")


def declare_parameters(node: Node, configuration: type) -> None:
    """Declares every parameter of `configuration` on `node`, with description, range and choices.

    Raises:
        rclpy.exceptions.ParameterException: an override has the wrong type, is out of range or not a choice.
    """
    choices = {declared.name: declared for declared in declared_parameters(configuration)}

    def check_choices(changed: list[Parameter]) -> SetParametersResult:
        reasons = [choices[item.name].refusal(item.value) for item in changed if item.name in choices]
        reason = "; ".join(filter(None, reasons))
        return SetParametersResult(successful=not reason, reason=reason)

    node.add_on_set_parameters_callback(check_choices)
    for declared in choices.values():
        node.declare_parameter(declared.name, declared.default_value(), declared.descriptor())
        if node.get_parameter_type(declared.name) == Parameter.Type.NOT_SET.value:
            node.set_parameters([declared.without_value()])


def read_parameters(node: Node, configuration: type[Configuration], prefix: str = "") -> Configuration:
    """The configuration that the node's parameters hold now.

    Raises:
        ValueError: the values contradict each other; raised by the configuration's `__post_init__`.
    """
    hints, values = get_type_hints(configuration), {}
    for field in dataclasses.fields(configuration):  # type: ignore[arg-type]
        hint, name = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            values[field.name] = read_parameters(node, hint, f"{name}.")
        else:
            values[field.name] = _read_value(node, name, hint)
    return configuration(**values)


def with_changes(configuration: Configuration, changes: Mapping[str, Any], prefix: str = "") -> Configuration:
    """``configuration`` with new values by dotted parameter name; names that it does not have are left out.

    Raises:
        ValueError: the values contradict each other; raised by the configuration's `__post_init__`.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(configuration):  # type: ignore[arg-type]
        value, name = getattr(configuration, field.name), prefix + field.name
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            values[field.name] = with_changes(value, changes, f"{name}.")
        elif name in changes:
            values[field.name] = tuple(changes[name]) if isinstance(value, tuple) else changes[name]
    return dataclasses.replace(configuration, **values)  # type: ignore[type-var]


def _read_value(node: Node, name: str, hint: Any) -> Any:
    try:
        value = node.get_parameter(name).value
    except ParameterUninitializedException:
        return ()  # an empty list has a type but no value in rclpy
    return tuple(value) if get_origin(hint) is tuple else value

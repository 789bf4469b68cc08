"""A small managed node for the tests of the base class; also run as a process of its own."""

import sys
from dataclasses import dataclass
from typing import Any

from std_msgs.msg import String

from jepa_common.managed_node import ManagedNode
from jepa_common.parameters import parameter
from jepa_common.qos_profiles import latest_qos
from jepa_common.run_node import run_node


@dataclass(frozen=True)
class ExampleParameters:
    model: str = parameter("good", "Loads unless it is bad", choices=("good", "bad", "buggy"))
    prefix: str = parameter("", "Put before each answer", live=True)


class ExampleNode(ManagedNode[ExampleParameters]):
    """Repeats what it hears while it is active."""

    def __init__(self, **options: Any) -> None:
        super().__init__("example", ExampleParameters, **options)
        self.undone: list[str] = []

    def configure(self, parameters: ExampleParameters) -> None:
        self.configured.callback(self.undone.append, "configure")
        if parameters.model == "bad":
            raise ValueError("expected a good model, got a bad one")
        if parameters.model == "buggy":
            raise TypeError("a programming error")
        self._heard = self.publisher_while_configured(String, "answer", latest_qos())

    def activate(self) -> None:
        self.activated.callback(self.undone.append, "activate")
        self.subscribe_while_active(String, "question", self._answer, latest_qos())

    def _answer(self, question: String) -> None:
        self.health.succeeded(0.001)
        self._heard.publish(String(data=self.parameters().prefix + question.data))


if __name__ == "__main__":
    sys.exit(run_node(ExampleNode))

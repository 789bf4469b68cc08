"""What the process with the control loop is told when it starts."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from jepa_robot.command_filter import Margins


@dataclass(frozen=True)
class ArmSettings:
    """How the arm is connected and driven.

    address: of the control box. robot: name of the table of limits. joints: names, in order.
    margins: what is used of the limits. replacement: when a new trajectory takes over, see `Replacement`.
    enforce_realtime: refuse to start without a real-time kernel. dry_run: refuse every trajectory.
    hold_seconds: so long after a motion the control loop goes on, s.
    command_timeout: an arm that still moves so long after the last command is stopped, s; 0: never.
    joint_impedance: stiffness [7], Nm/rad. contact_torque, collision_torque: thresholds [7], Nm, of a contact and of a
    reflex; contact_force, collision_force: the same for the tool [6], N and Nm.
    cycles_per_report: cycles of the loop between two states that the node is sent.
    """

    address: str
    robot: str
    joints: tuple[str, ...]
    margins: Margins
    replacement: str
    enforce_realtime: bool
    dry_run: bool
    hold_seconds: float
    command_timeout: float
    joint_impedance: tuple[float, ...]
    contact_torque: tuple[float, ...]
    collision_torque: tuple[float, ...]
    contact_force: tuple[float, ...]
    collision_force: tuple[float, ...]
    cycles_per_report: int

    def to_text(self) -> str:
        """As one argument of a command line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> ArmSettings:
        """What `to_text` made."""
        values: dict[str, Any] = json.loads(text)
        tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values | tuples | {"margins": Margins(**values["margins"])})

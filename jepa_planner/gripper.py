"""From planned closedness to a gripper command that does not chatter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GripperConfig:
    """Thresholds on the planned closedness (0 open, 1 closed) and the steps to wait between two changes."""

    close_above: float = 0.6
    open_below: float = 0.4
    dwell_steps: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.open_below < self.close_above <= 1:
            raise ValueError(
                f"0 <= open_below < close_above <= 1 is needed, got {self.open_below} and {self.close_above}"
            )
        if self.dwell_steps < 0:
            raise ValueError(f"dwell_steps cannot be negative, got {self.dwell_steps}")


FINGERS_AT_REST = 0.02
"""Fingers whose closedness changes by less than this in a step have come to rest."""


class HeldFingers:
    """How far fingers will still move that are commanded to a closedness. Not thread-safe.

    Fingers that are stopped by what they hold never get there: a plan that imagined them closing on would imagine the
    object gone.
    """

    def __init__(self) -> None:
        self._command: float | None = None
        self._closedness = float("nan")

    def reset(self) -> None:
        """Forget the last step."""
        self._command, self._closedness = None, float("nan")

    def change(self, command: float | None, closedness: float) -> float | None:
        """Change of closedness to expect of the next step, of fingers at ``closedness``; None without a command."""
        at_rest = self._command == command and abs(closedness - self._closedness) < FINGERS_AT_REST
        self._command, self._closedness = command, closedness
        if command is None:
            return None
        return 0.0 if at_rest else command - closedness


class GripperHysteresis:
    """Opens or closes whole, and changes its mind only past the other threshold. Not thread-safe."""

    def __init__(self, config: GripperConfig) -> None:
        self._config = config
        self._command: float | None = None
        self._steps_since_change = config.dwell_steps

    def reset(self) -> None:
        """Forget the last command."""
        self._command = None
        self._steps_since_change = self._config.dwell_steps

    def command(self, closedness: float) -> float | None:
        """The command for a planned ``closedness``: 0 open, 1 closed, None as long as neither is meant."""
        self._steps_since_change += 1
        wanted = self._wanted(closedness)
        if wanted != self._command and self._steps_since_change > self._config.dwell_steps:
            self._command, self._steps_since_change = wanted, 0
        return self._command

    def _wanted(self, closedness: float) -> float | None:
        if closedness > self._config.close_above:
            return 1.0
        if closedness < self._config.open_below:
            return 0.0
        return self._command

"""The `jepa` command. Each subcommand's module is imported only when that one is called for."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from jepa_common.importing import EXIT_INTERRUPTED, ending_at_once_when_interrupted

TRACEBACK_VARIABLE = "JEPA_TRACEBACK"
EXIT_FAILED, EXIT_USAGE = 1, 2

# What wrong input, a missing file or a failed process raises, with a message for people. Anything else is a
# programming error and keeps its traceback.
EXPECTED_FAILURES = (OSError, ValueError, RuntimeError, LookupError, ImportError)


@dataclass(frozen=True)
class Command:
    """One subcommand.

    name: what one types.
    module, function: its implementation. The function takes one configuration, from whose type the command line
        is made, and returns the exit code; None is 0, and so is a path, which is printed.
    summary: one line for `jepa --help`.
    """

    name: str
    module: str
    function: str
    summary: str

    @property
    def exists(self) -> bool:
        """Whether this installation has the module; does not import it, but the package that it is in."""
        try:
            return importlib.util.find_spec(self.module) is not None
        except ModuleNotFoundError:
            return False
        except ImportError:
            return True  # which says what it lacks when it is called for

    def load(self) -> Callable[[Any], Any]:
        """The function; imports its module."""
        return getattr(importlib.import_module(self.module), self.function)


COMMANDS = (
    Command(
        "demo", "jepa_tools.demo.command", "demo", "take the simulated arm to an image goal, through the ROS nodes"
    ),
    Command("collect", "jepa_sim.collect", "collect_episodes", "simulate episodes to train on"),
    Command("pretrain", "jepa_world_model.training.pretrain", "pretrain", "train an encoder on episodes"),
    Command("train", "jepa_world_model.training.train", "train", "train a predictor on a frozen encoder"),
    Command(
        "train-decoder",
        "jepa_world_model.training.train_decoder",
        "train_decoder",
        "train a decoder that shows latents as pictures",
    ),
    Command("sim-eval", "jepa_tools.sim_eval.command", "sim_eval", "measure success on the simulated table"),
    Command("bag-eval", "jepa_tools.bag_eval.command", "bag_eval", "measure a model on recorded bags"),
    Command("envelope", "jepa_tools.bench.envelope", "envelope", "record what the planner's motion asks of the joints"),
    Command("record", "jepa_tools.recording.recorder", "record", "record topics to a bag"),
    Command("convert", "jepa_tools.conversion.command", "convert", "convert checkpoints, bags and LeRobot datasets"),
    Command("view", "jepa_tools.view.command", "view", "show a running robot in a browser, and command it"),
    Command(
        "calibrate", "jepa_tools.calibration.command", "calibrate", "find out how the camera stands, from small moves"
    ),
    Command(
        "doctor", "jepa_tools.doctor.command", "doctor", "look at the installation and at what runs, and say what to do"
    ),
    Command("security", "jepa_tools.security.command", "security", "write who may say what, as a policy of SROS2"),
    Command("bench", "jepa_tools.bench.command", "bench", "time planning and encoding"),
)


def main(arguments: Sequence[str] | None = None, commands: Sequence[Command] = COMMANDS) -> int:
    """Runs `jepa` with `arguments` (default: the process's) and returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with ending_at_once_when_interrupted("jepa"):
        available = {command.name: command for command in commands if command.exists}
    if not words or words[0] in ("-h", "--help"):
        print(_help(available.values()))
        return 0 if words else EXIT_USAGE
    if words[0] not in available:
        print(f"jepa: expected one of {', '.join(available)}, got {words[0]!r}", file=sys.stderr)
        return EXIT_USAGE
    return _run(available[words[0]], words[1:])


def _help(commands: Iterable[Command]) -> str:
    rows = (f"  {command.name:13s} {command.summary}" for command in commands)
    return "\n".join(["usage: jepa COMMAND [options]", "", *rows, "", "`jepa COMMAND --help` lists the options."])


def _run(command: Command, arguments: list[str]) -> int:
    try:
        return _call(command, arguments)
    except KeyboardInterrupt:
        print(f"jepa {command.name}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except EXPECTED_FAILURES as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exc()
        print(f"jepa {command.name}: {error or type(error).__name__}", file=sys.stderr)
        print(f"({TRACEBACK_VARIABLE}=1 shows where)", file=sys.stderr)
        return EXIT_FAILED


def _call(command: Command, arguments: list[str]) -> int:
    with ending_at_once_when_interrupted(f"jepa {command.name}"):
        import tyro

        from jepa_common.config_file import CONFIG_OPTION, with_config_file

        function = command.load()
        configuration = tyro.cli(
            configuration_type(function),
            args=with_config_file(arguments),
            prog=f"jepa {command.name}",
            description=f"{command.summary}. {CONFIG_OPTION} FILE takes options from a YAML file.",
        )
    result = function(configuration)
    if isinstance(result, int):
        return result
    if isinstance(result, Path):
        print(result)
    return 0


def configuration_type(function: Callable[[Any], Any]) -> Any:
    """The annotated type of a function's first parameter.

    Raises:
        TypeError: it takes none, or the first is not annotated.
    """
    hints = get_type_hints(function, include_extras=True)  # names of subcommands are extras
    names = [name for name in hints if name != "return"]
    if not names:
        raise TypeError(f"expected {function} to take an annotated configuration")
    return hints[names[0]]


if __name__ == "__main__":
    sys.exit(main())

"""The `jepa` command finds its subcommands, is quick to help, and reports errors as sentences."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from jepa_tools.cli import COMMANDS, Command, configuration_type, main

HERE = __name__


@dataclass(frozen=True)
class GreetConfig:
    """Greets.

    Attributes:
        name: Whom.
        times: How often.
    """

    name: str
    times: int = 1


def greet(config: GreetConfig) -> int:
    print(f"hello {config.name} " * config.times)
    return 3


def fail(config: GreetConfig) -> None:
    raise FileNotFoundError(f"expected a file named {config.name}")


def blunder(config: GreetConfig) -> None:
    raise TypeError("a programming error")


def interrupt(config: GreetConfig) -> None:
    raise KeyboardInterrupt


def write(config: GreetConfig) -> Path:
    return Path("model.safetensors")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Command]:
    monkeypatch.setitem(sys.modules, "greetings_of_a_test", sys.modules[HERE])
    monkeypatch.setattr(Command, "exists", True)
    return [
        Command(name, "greetings_of_a_test", name, name) for name in ("greet", "fail", "blunder", "interrupt", "write")
    ]


def test_the_exit_code_is_the_functions(commands: list[Command], capsys: pytest.CaptureFixture[str]):
    assert main(["greet", "--name", "Ada", "--times", "2"], commands) == 3
    assert capsys.readouterr().out == "hello Ada hello Ada \n"


def test_a_path_is_printed(commands: list[Command], capsys: pytest.CaptureFixture[str]):
    assert main(["write", "--name", "x"], commands) == 0
    assert capsys.readouterr().out == "model.safetensors\n"


def test_an_expected_failure_is_a_sentence(commands: list[Command], capsys: pytest.CaptureFixture[str]):
    assert main(["fail", "--name", "x.pt"], commands) == 1
    error = capsys.readouterr().err
    assert "jepa fail: expected a file named x.pt" in error
    assert "Traceback" not in error


def test_its_traceback_can_be_asked_for(
    commands: list[Command], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JEPA_TRACEBACK", "1")
    assert main(["fail", "--name", "x.pt"], commands) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_programming_error_keeps_its_traceback(commands: list[Command]):
    with pytest.raises(TypeError):
        main(["blunder", "--name", "x"], commands)


def test_an_interrupt_has_the_shells_exit_code(commands: list[Command]):
    assert main(["interrupt", "--name", "x"], commands) == 130


def test_an_unknown_command_is_answered_with_those_there_are(
    commands: list[Command], capsys: pytest.CaptureFixture[str]
):
    assert main(["dance"], commands) == 2
    assert "expected one of greet, fail" in capsys.readouterr().err


def test_a_wrong_option_is_a_usage_error(commands: list[Command]):
    with pytest.raises(SystemExit) as stopped:
        main(["greet", "--colour", "red"], commands)
    assert stopped.value.code == 2


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from jepa_tools.cli import main; assert main(['--help']) == 0; "
        "assert not {'torch', 'rclpy', 'mujoco', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sim-eval" in done.stdout


@pytest.mark.parametrize("command", [item for item in COMMANDS if item.exists], ids=lambda item: item.name)
def test_every_subcommand_takes_one_configuration(command: Command):
    assert configuration_type(command.load()) is not None


SLOW_IMPORT = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
while True:
    try:
        time.sleep(0.05)
    except BaseException:
        pass  # as libraries do that try one thing after the other
"""


def test_an_interrupt_while_a_command_is_imported_ends_it_at_once(tmp_path: Path):
    (tmp_path / "slow_import.py").write_text(SLOW_IMPORT)
    program = (
        "import sys; from jepa_tools.cli import Command, main; "
        "sys.exit(main(['slow'], [Command('slow', 'slow_import', 'f', '')]))"
    )
    begun = tmp_path / "begun"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(begun)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    try:
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130 and error == "jepa slow: interrupted\n"


def test_after_the_import_an_interrupt_is_an_exception_again():
    program = (
        "import signal; from jepa_common.importing import ending_at_once_when_interrupted as ending\n"
        "with ending('a'): pass\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with ending('a'): assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_program_imports_nothing_heavy_before_it_can_be_interrupted():
    heavy = {"tyro", "yaml", "numpy", "torch", "dataclasses", "inspect", "jepa_tools.cli"}
    program = "import sys; before = set(sys.modules); import jepa_tools.__main__; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())

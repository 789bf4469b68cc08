"""The process runner ends exactly what it started, however it ends itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jepa_tools.bring_up.hung_processes import HangPatience
from jepa_tools.bring_up.process_runner import (
    ProcessEndedError,
    ProcessRunner,
    ProcessSpec,
    StopPatience,
    terminate_as_interrupt,
)

PYTHON = (sys.executable, "-I", "-S", "-u", "-c")
SLEEPS = "import time; print('started'); time.sleep(60)"
IGNORES_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); " + SLEEPS
IGNORES_ALL = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + IGNORES_INTERRUPTS
# Prints its child's id; the child would outlive it.
HAS_A_CHILD = (
    "import subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)']); "
    "print(child.pid, flush=True); time.sleep(60)"
)
RUNS_A_RUNNER = """
import sys
from jepa_tools.bring_up.process_runner import ProcessRunner, ProcessSpec, terminate_as_interrupt
with terminate_as_interrupt(), ProcessRunner() as runner:
    runner.start(ProcessSpec("child", (sys.executable, "-S", "-c", "import time; time.sleep(60)")))
    print("id", runner.process_id("child"), flush=True)
    import time
    time.sleep(60)
"""


class Lines:
    """Collects what processes print."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))

    def of(self, name: str) -> list[str]:
        return [line for printed_by, line in self.lines if printed_by == name]


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def exists(process_id: int) -> bool:
    """Whether the process is there and not merely waiting to be collected."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def spec(name: str, code: str, **options: object) -> ProcessSpec:
    return ProcessSpec(name, (*PYTHON, code), **options)  # type: ignore[arg-type]


def test_output_comes_line_by_line_with_the_name_of_its_process():
    lines = Lines()
    with ProcessRunner(lines) as runner:
        runner.start(spec("first", "print('a'); print('b')"))
        runner.start(spec("second", "import sys; print('c', file=sys.stderr)"))
        wait_until(lambda: len(lines.lines) == 3)
    assert lines.of("first") == ["a", "b"]
    assert lines.of("second") == ["c"]


@pytest.mark.parametrize("code", [SLEEPS, IGNORES_INTERRUPTS, IGNORES_ALL])
def test_nothing_is_left_after_the_block_however_stubborn(code: str):
    lines = Lines()
    with ProcessRunner(lines, StopPatience(interrupt=0.2, terminate=0.2)) as runner:
        runner.start(spec("stubborn", code))
        wait_until(lambda: lines.of("stubborn") == ["started"])
        process_id = runner.process_id("stubborn")
        assert exists(process_id)
    assert not exists(process_id)


def test_children_of_a_process_end_with_it():
    lines = Lines()
    with ProcessRunner(lines, StopPatience(interrupt=1.0)) as runner:
        runner.start(spec("parent", HAS_A_CHILD))
        wait_until(lambda: bool(lines.of("parent")))
        child = int(lines.of("parent")[0])
        assert exists(child)
    assert not exists(child)


def test_processes_end_when_the_block_raises():
    lines = Lines()
    with pytest.raises(KeyError), ProcessRunner(lines) as runner:
        runner.start(spec("sleeper", SLEEPS))
        process_id = runner.process_id("sleeper")
        raise KeyError("anything")
    assert not exists(process_id)


def test_a_process_that_ends_by_itself_is_reported_with_what_it_said_last():
    with ProcessRunner(Lines()) as runner:
        runner.start(spec("fragile", "print('no such file: model.pt'); raise SystemExit(3)"))
        with pytest.raises(
            ProcessEndedError, match=r"fragile ended by itself(.|\n)*no such file: model(.|\n)*exit code 3"
        ):
            wait_until(lambda: runner.check() is not None)


def test_a_killed_process_is_started_again():
    lines = Lines()
    with ProcessRunner(lines) as runner:
        runner.start(spec("node", SLEEPS, respawn=True, respawn_delay=0.05))
        wait_until(lambda: lines.of("node") == ["started"])
        first = runner.process_id("node")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: lines.of("node").count("started") == 2)
        runner.check()
        with pytest.raises(ProcessEndedError, match="exit code -9"):
            runner.check(respawns_allowed=False)
        second = runner.process_id("node")
        assert runner.respawns("node") == 1
        assert second != first
        assert exists(second)
    assert not exists(second)


def test_names_are_unique_and_processes_start_inside_the_block_only():
    runner = ProcessRunner(Lines())
    with pytest.raises(RuntimeError, match="inside"):
        runner.start(spec("early", SLEEPS))
    with runner:
        runner.start(spec("node", SLEEPS))
        with pytest.raises(ValueError, match="'node'"):
            runner.start(spec("node", SLEEPS))


def start_runner_process() -> tuple[subprocess.Popen[str], int]:
    """A process with a runner in it, and the id of the process that this one runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUNS_A_RUNNER], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline().split()[1])
    assert exists(child)
    return process, child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_outlives_a_runner_that_is_told_to_end_or_killed(number: int):
    process, child = start_runner_process()
    process.send_signal(number)
    process.wait(10)
    wait_until(lambda: not exists(child))


def test_a_second_interrupt_kills_at_once():
    lines = Lines()
    interrupt = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    runner = ProcessRunner(lines, StopPatience(interrupt=30.0, terminate=30.0))
    with runner:
        runner.start(spec("stubborn", IGNORES_ALL))
        wait_until(lambda: lines.of("stubborn") == ["started"])
        process_id = runner.process_id("stubborn")
        started = time.monotonic()
        interrupt.start()
    assert time.monotonic() - started < 20.0
    assert not exists(process_id)


def test_terminate_becomes_an_interrupt_only_inside_the_block():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminate_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) is before


GIVES_SIGNS = """
import time
from jepa_common.life_signs import LineToStarter, Sign
line = LineToStarter("/node")
{}
"""
LIVES = "print('alive', flush=True)\nwhile True: line.say(Sign.ALIVE); time.sleep(0.05)"
HANGS = "line.say(Sign.ALIVE); print('alive', flush=True); time.sleep(60)"
LOADS = "line.say(Sign.BUSY); print('alive', flush=True); time.sleep(60)"


def signing(program: str) -> ProcessSpec:
    command = (sys.executable, "-c", GIVES_SIGNS.format(program))
    return ProcessSpec("node", command, dict(os.environ), respawn=True, respawn_delay=0.05)


def test_a_stopped_process_that_gave_signs_of_life_is_started_again():
    lines = Lines()
    with ProcessRunner(lines) as runner:
        runner.start(signing(LIVES))
        wait_until(lambda: "alive" in lines.of("node"), 30.0)
        time.sleep(0.3)  # it has given signs
        stopped = runner.process_id("node")
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda: runner.respawns("node") == 1, 30.0)
        assert any("was stopped" in line for line in lines.of("/node"))
        assert runner.process_id("node") != stopped
        wait_until(lambda: lines.of("node").count("alive") == 2, 30.0)


def test_a_process_that_hangs_is_started_again_and_one_that_is_busy_is_not():
    lines = Lines()
    with ProcessRunner(lines, hang_patience=HangPatience(stopped=0.2, hung=0.6)) as runner:
        runner.start(signing(HANGS))
        runner.start(replace(signing(LOADS), name="loading"))
        wait_until(lambda: runner.respawns("node") >= 1, 30.0)
        wait_until(lambda: lines.of("loading") == ["alive"], 30.0)
        time.sleep(1.5)
        assert runner.respawns("loading") == 0


def test_signs_of_life_of_another_process_do_not_get_that_one_killed():
    """Nobody can name a process to be killed: only the sender of a sign is ever watched."""
    with ProcessRunner(Lines(), hang_patience=HangPatience(stopped=0.2, hung=0.4)) as runner:
        bystander = subprocess.Popen([*PYTHON, SLEEPS], stdout=subprocess.DEVNULL)
        try:
            program = f"line.say(Sign.ALIVE); line._name = '{bystander.pid}'; line.say(Sign.ALIVE); time.sleep(60)"
            runner.start(signing(program))
            wait_until(lambda: runner.respawns("node") >= 1, 30.0)
            assert bystander.poll() is None
        finally:
            bystander.kill()
            bystander.wait()

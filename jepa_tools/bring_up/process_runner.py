"""Runs processes side by side, prefixes what they print, and ends exactly what it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Self

from jepa_common.life_signs import SOCKET_VARIABLE
from jepa_tools.bring_up import process_guard
from jepa_tools.bring_up.hung_processes import HangPatience, HungProcessWatch

OutputLine = Callable[[str, str], None]
"""Takes a process's name and one line of what it printed, without the line end; called from any thread."""


class ProcessEndedError(RuntimeError):
    """A process that should run has ended; the message holds the last lines that it printed."""


@dataclass(frozen=True)
class ProcessSpec:
    """One process.

    name: prefix of its output, unique within a runner.
    command: program and arguments.
    environment: the whole environment of the process.
    respawn: start it again, `respawn_delay` seconds after it ended by itself.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    respawn: bool = False
    respawn_delay: float = 0.5


@dataclass(frozen=True)
class StopPatience:
    """Seconds that a process gets to end after each signal, before the next, harder one."""

    interrupt: float = 5.0
    terminate: float = 2.0
    kill: float = 2.0

    def escalation(self) -> tuple[tuple[int, float], ...]:
        """(signal, seconds) in order."""
        return (
            (signal.SIGINT, self.interrupt),
            (signal.SIGTERM, self.terminate),
            (signal.SIGKILL, self.kill),
        )


def print_prefixed(name: str, line: str) -> None:
    """Prints `[name] line` in one piece."""
    sys.stdout.write(f"[{name}] {line}\n")
    sys.stdout.flush()


class ProcessRunner:
    """Processes that live while the `with` block runs.

        with ProcessRunner() as runner:
            runner.start(ProcessSpec("encoder", (sys.executable, "-m", "jepa_perception.encoder_node")))

    Each process leads a process group of its own, so a Ctrl-C in the terminal reaches the runner alone, which
    then ends the processes: SIGINT, SIGTERM, SIGKILL. A second Ctrl-C while it waits kills at once. If the
    runner itself is killed, a guard process ends them. A process that gives signs of life (`jepa_common.life_signs`)
    and falls silent is killed, and so started again where it respawns.

    Threads: all methods belong to the thread that made the runner; `output` is called from others.
    """

    def __init__(
        self,
        output: OutputLine = print_prefixed,
        patience: StopPatience = StopPatience(),
        hang_patience: HangPatience | None = None,
    ) -> None:
        self._output, self._patience, self._hang_patience = output, patience, hang_patience or HangPatience()
        self._processes: dict[str, _SupervisedProcess] = {}
        self._guard: _Guard | None = None
        self._life_signs = f"jepa_ros_life_signs_{os.getuid()}_{os.getpid()}_{id(self)}"
        self._watch: HungProcessWatch | None = None

    def __enter__(self) -> Self:
        self._guard = _Guard()
        self._watch = HungProcessWatch(self._life_signs, self._output, self._hang_patience).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, spec: ProcessSpec) -> None:
        """Starts a process.

        Raises:
            OSError: the program cannot be started.
            ValueError: the name is taken.
            RuntimeError: outside the `with` block.
        """
        if self._guard is None:
            raise RuntimeError("expected to start processes inside the runner's `with` block")
        if spec.name in self._processes:
            raise ValueError(f"expected a name that no other process has, got {spec.name!r} again")
        listening = replace(spec, environment={**spec.environment, SOCKET_VARIABLE: self._life_signs})
        self._processes[spec.name] = _SupervisedProcess(listening, self._output, self._guard)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all processes, in the order in which they were started."""
        return tuple(self._processes)

    def process_id(self, name: str) -> int:
        """Process id of the running instance, or of the last one that ran."""
        return self._processes[name].process_id

    def node_process_id(self, node: str) -> int | None:
        """Process id of the node with this full name, behind whatever stands in for it; None when it is not alive."""
        return self._watch.process_of(node) if self._watch is not None else None

    def respawns(self, name: str) -> int:
        """How often the process was started again."""
        return self._processes[name].respawns

    def check(self, respawns_allowed: bool = True) -> None:
        """Raises ProcessEndedError when a process has ended for good.

        While the processes start, `respawns_allowed=False` finds those that end and are started over and over.
        """
        for name, process in self._processes.items():
            ended = process.exit_code is not None or (process.respawns and not respawns_allowed)
            if ended:
                printed = "\n".join(f"  {line}" for line in process.last_lines) or "  (nothing)"
                raise ProcessEndedError(f"{name} ended by itself; the last that it printed:\n{printed}")

    def stop(self) -> None:
        """Ends all processes and returns when they are gone; harmless when called again."""
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
            self._watch = None
        processes = tuple(self._processes.values())
        for process in processes:
            process.retire()
        with _counted_interrupts() as hurry:
            for number, seconds in self._patience.escalation():
                _signal_all(processes, number, seconds, hurry)
        for process in processes:
            process.join()
        self._processes.clear()
        if self._guard is not None:
            self._guard.close()
            self._guard = None


def _signal_all(
    processes: Sequence[_SupervisedProcess], number: int, seconds: float, hurry: Callable[[], bool]
) -> None:
    """Signals those that still run and waits until they have ended; not longer than `seconds`."""
    for process in processes:
        process.signal(number)
    deadline = time.monotonic() + seconds
    while any(process.is_running for process in processes) and time.monotonic() < deadline:
        if hurry() and number != signal.SIGKILL:
            return
        time.sleep(0.02)


@contextlib.contextmanager
def _counted_interrupts() -> Iterator[Callable[[], bool]]:
    """Counts Ctrl-C and SIGTERM instead of raising; the block's function tells whether one has come."""
    interrupts: list[int] = []

    def count(number: int, _: FrameType | None) -> None:
        interrupts.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(interrupts)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end the block as Ctrl-C does, by KeyboardInterrupt, so that it cleans up."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Guard:
    """The process that ends the others if this one cannot; see `process_guard`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a file of this package
            [sys.executable, "-I", "-S", process_guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def watch(self, group: int) -> None:
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        self._tell(f"-{group}\n")

    def close(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        # A guard that was killed can no longer help; what it guards goes on all the same.
        with self._lock, contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.write(line)
                self._process.stdin.flush()


class _SupervisedProcess:
    """One process of a runner, and the thread that reads its output and starts it again."""

    def __init__(self, spec: ProcessSpec, output: OutputLine, guard: _Guard) -> None:
        self._spec, self._output, self._guard = spec, output, guard
        self._lock = threading.Lock()
        self._retired = threading.Event()
        self.last_lines: deque[str] = deque(maxlen=12)
        self.exit_code: int | None = None
        self.respawns = 0
        self._process = self._spawn()
        self._thread = threading.Thread(target=self._supervise, name=f"run-{spec.name}", daemon=True)
        self._thread.start()

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether anything is left: the process, a child that holds its output, or the wish to respawn."""
        return self._thread.is_alive()

    def retire(self) -> None:
        """No more respawning once this returns."""
        with self._lock:
            self._retired.set()

    def signal(self, number: int) -> None:
        """Signals the whole group, if anything of it is left."""
        if self.is_running:
            process_guard.signal_group(self._process.pid, number)

    def join(self) -> None:
        self._thread.join()

    def _spawn(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(  # noqa: S603 - what to run is the caller's choice; no shell is involved
            self._spec.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self._spec.environment),
            start_new_session=True,
            text=True,
            errors="replace",
            bufsize=1,
        )
        self._guard.watch(process.pid)
        return process

    def _supervise(self) -> None:
        exit_code = self._follow()
        while self._spec.respawn and not self._retired.wait(self._spec.respawn_delay):
            self._output(self._spec.name, f"ended with exit code {exit_code}; starting it again")
            if not self._respawn():
                break
            exit_code = self._follow()
        self.exit_code = exit_code

    def _respawn(self) -> bool:
        """Starts it again unless it was retired meanwhile."""
        with self._lock:
            if self._retired.is_set():
                return False
            self._process = self._spawn()
            self.respawns += 1
            return True

    def _follow(self) -> int:
        """Passes the output on until the process has ended, and returns its exit code."""
        with self._process as process:
            for line in process.stdout or ():
                self.last_lines.append(line.rstrip())
                self._output(self._spec.name, line.rstrip())
        process_guard.signal_group(process.pid, signal.SIGKILL)  # children that it left behind
        self._guard.release(process.pid)
        self.last_lines.append(f"(exit code {process.returncode})")
        return process.returncode

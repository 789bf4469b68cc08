"""What all tests share: a ROS domain of their own, nodes on real Fast DDS, and processes that end with the test."""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

import hypothesis
import pytest

# Before the first import of torch or MuJoCo: two cores are shared by everything that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")

# torch.optim loads triton, whose LLVM crashes where Mesa's is in the process already; the other order works.
if importlib.util.find_spec("triton"):
    importlib.import_module("triton")

# The machine is shared, so time says nothing about correctness; and every run tries the same examples.
hypothesis.settings.register_profile("shared machine", deadline=None, derandomize=True)
hypothesis.settings.load_profile("shared machine")

REPOSITORY = Path(__file__).resolve().parent.parent
# A run in the background of a shell ignores Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

HIGHEST_DOMAIN = 101  # above it, DDS ports run into those that Linux hands out
DEFAULT_TIMEOUT = 60.0  # a node that imports torch on a busy machine takes its time


def _reserve_domain() -> tuple[int, IO[str]]:
    """A ROS domain that no other test run on this machine uses, and the lock file that keeps it reserved."""
    folder = Path(tempfile.gettempdir()) / "jepa_ros_test_domains"
    folder.mkdir(exist_ok=True)
    for domain in range(1, HIGHEST_DOMAIN + 1):
        lock = (folder / str(domain)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return domain, lock
    raise RuntimeError(f"expected a free ROS domain from 1 to {HIGHEST_DOMAIN}, all are in use")


@pytest.fixture(scope="session")
def ros_domain() -> Iterator[int]:
    """The ROS domain of this test run, set in the environment that started processes inherit."""
    domain, lock = _reserve_domain()
    # Also held by the processes that a test starts: should they outlive it, no other run meets them.
    os.set_inheritable(lock.fileno(), True)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.pop("ROS_LOCALHOST_ONLY", None)  # deprecated, and it would take precedence
    yield domain
    lock.close()


class Nodes:
    """Nodes of one test, spun on a thread of their own, with a plain node `client` to talk to them."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._nodes: list[Any] = []
        self.client = self.add(rclpy.create_node("test_client", context=self._context))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="test-executor", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException

        try:
            while not self._closing.is_set():
                self._executor.spin_once()
        except ExternalShutdownException:
            return

    def run(self, function: Callable[[], Any]) -> Any:
        """What `function` returns or raises, called on the thread that spins the nodes, as their callbacks are.

        Goals are sent so, too: rclpy loses an answer that comes before the request is taken note of. And action clients
        are made so: Kilted's join their node before they are complete.
        """
        ended: Future[Any] = Future()

        def call() -> None:
            try:
                ended.set_result(function())
            except Exception as error:  # noqa: BLE001 - an executor would end with it
                ended.set_exception(error)

        self._executor.create_task(call)
        return ended.result(DEFAULT_TIMEOUT)

    def add(self, node: Any) -> Any:
        """Spins `node` until the test ends."""
        self._executor.add_node(node)
        self._nodes.append(node)
        return node

    def make(self, make_node: Callable[..., Any], **parameters: Any) -> Any:
        """Makes a node with these parameter values and spins it."""
        from rclpy.parameter import Parameter

        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        return self.add(make_node(context=self._context, parameter_overrides=overrides))

    def collect(self, message_type: type, topic: str, qos: Any) -> list[Any]:
        """A list that grows with every message on `topic`."""
        received: list[Any] = []
        self.client.create_subscription(message_type, topic, received.append, qos)
        return received

    def publisher(self, message_type: type, topic: str, qos: Any, readers: int = 1) -> Any:
        """A publisher that already has its readers."""
        publisher = self.client.create_publisher(message_type, topic, qos)
        self.wait_until(lambda: publisher.get_subscription_count() >= readers, f"{readers} reader(s) of {topic}")
        return publisher

    def call(self, service_type: type, name: str, request: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        """Calls a service and returns its response."""
        client = self.client.create_client(service_type, name)
        assert client.wait_for_service(timeout), f"no service {name}"
        future = client.call_async(request)
        self.wait_until(future.done, f"an answer of {name}", timeout)
        self.client.destroy_client(client)
        return future.result()

    @staticmethod
    def wait_until(
        condition: Callable[[], bool], what: str | Callable[[], str], timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        """Returns when `condition` holds; fails the test when it does not within `timeout` seconds.

        A function `what` is asked when that has happened, not before.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout} s for {what() if callable(what) else what}"
            time.sleep(0.005)

    def close(self) -> None:
        """Ends the spinning, then the nodes."""
        # An executor must not be shut down while another thread waits in it; a task ends the wait.
        self._executor.create_task(self._closing.set)
        self._thread.join(DEFAULT_TIMEOUT)
        self._executor.shutdown()
        self._context.try_shutdown()
        for node in reversed(self._nodes):
            node.destroy_node()


@pytest.fixture
def nodes(ros_domain: int) -> Iterator[Nodes]:
    """Nodes of one test; see `Nodes`."""
    harness = Nodes()
    yield harness
    harness.close()


@pytest.fixture(scope="module")
def lasting_nodes(ros_domain: int) -> Iterator[Nodes]:
    """Nodes that the tests of one module share; see `Nodes`."""
    harness = Nodes()
    yield harness
    harness.close()


class Processes:
    """Python processes of one test; exactly these are ended when it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, *arguments: str, ros_parameters: dict[str, Any] | None = None) -> Any:
        """Starts `python -m module arguments`; what it prints is in `output(process)`."""
        return self._start(["-m", module, *arguments], ros_parameters)

    def start_file(self, path: Path, ros_parameters: dict[str, Any] | None = None) -> Any:
        """Starts `python path`."""
        return self._start([str(path)], ros_parameters)

    def _start(self, arguments: list[str], ros_parameters: dict[str, Any] | None) -> Any:
        command = [sys.executable, *arguments]
        if ros_parameters:
            command.append("--ros-args")
            for name, value in ros_parameters.items():
                command += ["-p", f"{name}:={value}"]
        with self._output_path(len(self._started)).open("wb") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                start_new_session=True,
                close_fds=False,
            )
        self._started.append(process)
        return process

    def output(self, process: subprocess.Popen[bytes]) -> str:
        """What the process has printed so far."""
        return self._output_path(self._started.index(process)).read_text(errors="replace")

    def _output_path(self, number: int) -> Path:
        return self._folder / f"process_{number}.txt"

    def close(self) -> None:
        """Asks each process to end, and insists when it does not."""
        for process in self._started:
            for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                if process.poll() is None:
                    process.send_signal(signal_number)
                    _wait(process)


def _wait(process: subprocess.Popen[bytes], timeout: float = 5.0) -> None:
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        return


@pytest.fixture
def processes(ros_domain: int, tmp_path: Path) -> Iterator[Processes]:
    """Processes of one test; see `Processes`."""
    started = Processes(tmp_path)
    yield started
    started.close()


@pytest.fixture(scope="module")
def lasting_processes(ros_domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Processes that the tests of one module share; see `Processes`."""
    started = Processes(tmp_path_factory.mktemp("processes"))
    yield started
    started.close()


@pytest.fixture
def install_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, dict[str, str]], Path]:
    """Leaves what pip leaves of another package of one module: its file, and metadata with its entry points by group.

    Returns the folder, for the PYTHONPATH of processes.
    """
    site = tmp_path / "site"

    def install(name: str, source: str, entries: dict[str, str]) -> Path:
        metadata = site / f"{name}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / f"{name}.py").write_text(textwrap.dedent(source))
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = (f"[{group}]\n{entry}\n" for group, entry in entries.items())
        (metadata / "entry_points.txt").write_text("".join(lines))
        monkeypatch.syspath_prepend(site)
        return site

    return install


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the time went, by area: CONTRIBUTING.md quotes it."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    seconds: Counter[str] = Counter()
    for report in (report for report in reports if isinstance(report, pytest.TestReport)):
        seconds["/".join(report.nodeid.split("/")[:2])] += report.duration
    if len(seconds) > 1:
        terminalreporter.section("seconds by area")
        for area, spent in seconds.most_common():
            terminalreporter.write_line(f"{spent:7.0f}  {area}")

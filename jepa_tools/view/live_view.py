"""The view of a running robot: a ROS client, the board, and the page, together."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from jepa_planner.client import JepaPlanner
from jepa_tools.operation.ros_client import RosClient
from jepa_tools.view.board import Board
from jepa_tools.view.config import ViewConfig
from jepa_tools.view.page_server import Address, PageServer
from jepa_tools.view.robot_listener import RobotListener
from jepa_world_model.picture_strip import jpeg

Picture = npt.NDArray[np.uint8]

_POLL_SECONDS = 0.03
# A client of the action is made with the first goal: on a busy machine it takes some seconds to find the planner.
_PLANNER_SECONDS = 10.0
_PICTURE_FILES = (".png", ".jpg", ".jpeg")
_LARGEST_GOAL = 4096  # pixels along a side

Answer = TypeVar("Answer")


class LiveView:
    """The page of a running robot while the `with` block runs.

    Threads: one for ROS, one for the page, and one that shows the planner goals, so that a stop never waits for them.
    """

    def __init__(self, config: ViewConfig) -> None:
        """Takes the ROS domain from the environment. Raises ValueError for a folder of goals that holds none."""
        self._config = config
        self._offered = {} if config.goals is None else _picture_files(config.goals)
        self._token = "" if config.read_only else config.token or secrets.token_urlsafe(12)
        self._board = Board()
        self._board.post("setup", {"cameras": config.cameras, "goals": sorted(self._offered)})
        self._work: queue.Queue[Callable[[RobotListener], None]] = queue.Queue()
        self._ending = threading.Event()
        self._listening: Future[None] = Future()
        self._thread = threading.Thread(target=self._listen, name="view-listener", daemon=True)
        address = Address(config.host, config.port, self._token)
        self._server = PageServer(address, self._board, self, self._offered_file)
        self._pursuing = ThreadPoolExecutor(1, "view-goals")
        self._planner: JepaPlanner | None = None

    def __enter__(self) -> Self:
        """Raises OSError when the port is taken."""
        self._server.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)
        self._ending.set()
        self._thread.join()
        self._pursuing.shutdown(cancel_futures=True)
        if self._planner is not None:
            self._planner.close()

    @property
    def url(self) -> str:
        """Where to open the page, with the token, which browsers keep to themselves."""
        host = self._config.host if ":" not in self._config.host else f"[{self._config.host}]"
        return f"http://{host}:{self._server.port}/" + (f"#token={self._token}" if self._token else "")

    def wait(self, seconds: float | None = None) -> None:
        """Returns after so long, or never; raises what ended the listening."""
        self._listening.result(seconds)

    # --- orders, from the page's thread ---------------------------------------------------------------------

    def order(self, name: str) -> Future[str]:
        """One of the planner's services."""
        return self._submit(lambda listener: listener.order(name))

    def pursue_frame(self, number: int) -> Future[str]:
        """Makes a picture that the camera showed the goal."""
        return self._pursuing.submit(
            lambda: self._pursue(self._submit(lambda listener: listener.frame(number)).result())
        )

    def pursue_file(self, data: bytes) -> Future[str]:
        """Makes a picture file the goal."""
        return self._pursuing.submit(lambda: self._pursue(decoded_goal(data)))

    def pursue_offered(self, name: str) -> Future[str]:
        """Makes a picture of those that are offered the goal."""
        return self._pursuing.submit(lambda: self._pursue(decoded_goal(self._offered_bytes(name))))

    def _offered_bytes(self, name: str) -> bytes:
        if name not in self._offered:
            raise ValueError(f"expected one of {', '.join(self._offered) or 'no pictures'}, got {name!r}")
        return self._offered[name].read_bytes()

    def _offered_file(self, name: str) -> bytes | None:
        return jpeg(decoded_goal(self._offered_bytes(name))) if name in self._offered else None

    def _submit(self, work: Callable[[RobotListener], Answer]) -> Future[Answer]:
        """Has the listener's thread do something."""
        outcome: Future[Answer] = Future()

        def perform(listener: RobotListener) -> None:
            if not outcome.set_running_or_notify_cancel():
                return  # the viewer left
            try:
                outcome.set_result(work(listener))
            except (ValueError, RuntimeError, OSError) as error:
                outcome.set_exception(error)

        self._work.put(perform)
        return outcome

    # --- the listener's thread ------------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            with RosClient("view", namespace=self._config.namespace) as client:
                listener = RobotListener(client, self._board, self._config)
                while not self._ending.is_set():
                    self._do_next(listener)
                    listener.poll()
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            self._listening.set_exception(error)
        else:
            self._listening.set_result(None)

    def _do_next(self, listener: RobotListener) -> None:
        """Carries out an order, or waits a moment for one."""
        try:
            self._work.get(timeout=_POLL_SECONDS)(listener)
        except queue.Empty:
            return

    def _pursue(self, picture: Picture) -> str:
        if self._planner is None:
            action = "/".join(filter(None, ["", self._config.namespace.strip("/"), "reach_goal"]))
            self._planner = JepaPlanner(name=action, wait_seconds=_PLANNER_SECONDS)
        self._planner.reach([picture], block=False)
        return "the picture is the goal now"


def decoded_goal(data: bytes) -> Picture:
    """RGB pixels of a picture file. Raises ValueError when it is none, or too large."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None or max(pixels.shape) > _LARGEST_GOAL:
        raise ValueError(f"expected a picture file such as PNG or JPEG of at most {_LARGEST_GOAL} pixels along a side")
    return np.ascontiguousarray(pixels[:, :, ::-1], dtype=np.uint8)


def _picture_files(folder: Path) -> dict[str, Path]:
    """Picture files of a folder by name. Raises ValueError where there is none."""
    files = {file.name: file for file in folder.iterdir() if file.suffix.lower() in _PICTURE_FILES}
    if not files:
        raise ValueError(f"{folder}: expected pictures ({', '.join(_PICTURE_FILES)}), found none")
    return files

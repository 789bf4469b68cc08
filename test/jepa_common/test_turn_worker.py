"""Work takes turns, so that a short piece does not wait for a long one; all of it can be given up."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from jepa_common.turn_worker import TurnWorker, Work


class Long:
    """Work of many turns, each of which the test lets go."""

    def __init__(self, turns: int) -> None:
        self.turns, self.done = turns, 0
        self.go, self.began = threading.Semaphore(0), threading.Semaphore(0)

    def work(self) -> Work:
        for _ in range(self.turns):
            self.began.release()
            assert self.go.acquire(timeout=20)
            self.done += 1
            yield


def short(log: list[str]) -> Work:
    log.append("short")
    return
    yield


def test_short_work_does_not_wait_for_the_end_of_long_work() -> None:
    worker, long, log = TurnWorker("test"), Long(3), []
    slow = worker.submit(long.work())
    assert long.began.acquire(timeout=20)
    quick = worker.submit(short(log))
    long.go.release()
    assert quick.result(timeout=20) is None and log == ["short"] and not slow.done()
    long.go.release(2)
    assert slow.result(timeout=20) is None and long.done == 3
    worker.stop()


def test_work_that_fails_passes_its_error_on_and_the_next_goes_on() -> None:
    def fails() -> Work:
        yield
        raise ValueError("no")

    worker, log = TurnWorker("test"), []
    failed, quick = worker.submit(fails()), worker.submit(short(log))
    with pytest.raises(ValueError, match="no"):
        failed.result(timeout=20)
    assert quick.result(timeout=20) is None
    worker.stop()


@pytest.mark.parametrize("give_up", ["drop", "stop"])
def test_work_is_given_up_at_the_end_of_its_turn(give_up: str) -> None:
    worker, long = TurnWorker("test"), Long(1000)
    running = worker.submit(long.work())
    assert long.began.acquire(timeout=20)
    waiting = worker.submit(short([]))
    ended = threading.Thread(target=getattr(worker, give_up))
    ended.start()
    with pytest.raises(CancelledError):
        waiting.result(timeout=20)
    long.go.release(1)
    with pytest.raises(CancelledError):
        running.result(timeout=20)
    ended.join(timeout=20)
    assert long.done == 1
    if give_up == "drop":
        assert worker.submit(short([])).result(timeout=20) is None
        worker.stop()
    else:
        assert worker.submit(short([])).cancelled()

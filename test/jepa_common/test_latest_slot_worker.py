import threading

from jepa_common.latest_slot_worker import LatestSlotWorker


class Recorder:
    """Work that waits for `go` before each item."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.done: list[str] = []
        self.errors: list[Exception] = []

    def work(self, item: str) -> None:
        self.started.release()
        assert self.go.acquire(timeout=5)
        if item == "bad":
            raise ValueError("bad item")
        self.done.append(item)


def test_the_newest_waiting_item_wins():
    recorder = Recorder()
    worker = LatestSlotWorker("test", recorder.work, recorder.errors.append)
    worker.submit("first")
    assert recorder.started.acquire(timeout=5)
    for item in ("second", "third", "fourth"):
        worker.submit(item)
    recorder.go.release(2)
    assert recorder.started.acquire(timeout=5)
    worker.stop()
    assert recorder.done == ["first", "fourth"]
    assert worker.replaced == 2


def test_slots_do_not_replace_each_other():
    recorder = Recorder()
    worker = LatestSlotWorker("test", recorder.work, recorder.errors.append)
    worker.submit("first", slot="image")
    assert recorder.started.acquire(timeout=5)
    worker.submit("goal", slot="goal")
    worker.submit("old image", slot="image")
    worker.submit("new image", slot="image")
    recorder.go.release(3)
    assert recorder.started.acquire(timeout=5)
    assert recorder.started.acquire(timeout=5)
    worker.stop()
    assert recorder.done == ["first", "goal", "new image"]


def test_an_exception_is_reported_and_the_next_item_runs():
    recorder = Recorder()
    worker = LatestSlotWorker("test", recorder.work, recorder.errors.append)
    recorder.go.release(2)
    worker.submit("bad")
    assert recorder.started.acquire(timeout=5)
    worker.submit("good")
    assert recorder.started.acquire(timeout=5)
    worker.stop()
    assert recorder.done == ["good"]
    assert [str(error) for error in recorder.errors] == ["bad item"]


def test_submitting_after_stop_does_nothing():
    recorder = Recorder()
    worker = LatestSlotWorker("test", recorder.work, recorder.errors.append)
    worker.stop()
    worker.submit("late")
    assert recorder.done == []

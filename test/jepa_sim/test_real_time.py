"""Pacing, on a clock that the test moves."""

import pytest

from jepa_sim.real_time import PaceConfig, RealTimePace


class FakeClock:
    """A clock that moves when something waits on it, or when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waited: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds


def pace_of(clock: FakeClock, **config: float) -> RealTimePace:
    return RealTimePace(PaceConfig(**config), clock, clock.pause)


def test_it_waits_for_the_rest_of_each_tick():
    clock = FakeClock()
    pace = pace_of(clock)
    for _ in range(500):
        clock.now += 0.004
        pace.wait(0.01)
    assert clock.waited == pytest.approx([0.006] * 500)
    assert pace.achieved == pytest.approx(1.0)
    assert not pace.is_behind


def test_one_long_tick_is_caught_up():
    clock = FakeClock()
    pace = pace_of(clock)
    clock.now += 0.05
    for _ in range(10):
        pace.wait(0.01)
    assert clock.now == pytest.approx(100.1)


def test_after_a_long_stop_it_does_not_rush():
    clock = FakeClock()
    pace = pace_of(clock, max_backlog=0.1)
    clock.now += 60.0
    for _ in range(100):
        pace.wait(0.01)
    assert clock.now == pytest.approx(160.0 + 1.0 - 0.1 - 0.01)


def test_it_says_that_it_is_behind_and_when_it_is_not_any_more():
    clock = FakeClock()
    pace = pace_of(clock)
    for _ in range(300):
        clock.now += 0.02
        pace.wait(0.01)
    assert pace.is_behind
    assert pace.achieved == pytest.approx(0.5, rel=0.05)
    for _ in range(400):
        clock.now += 0.001
        pace.wait(0.01)
    assert not pace.is_behind


def test_a_factor_changes_what_a_second_is():
    clock = FakeClock()
    pace = pace_of(clock, factor=4.0)
    for _ in range(100):
        pace.wait(0.01)
    assert clock.now == pytest.approx(100.25)


def test_stop_ends_a_wait():
    pace = RealTimePace()
    pace.stop()
    pace.wait(3600.0)
    assert pace.stopped


def test_a_pace_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="positive"):
        PaceConfig(factor=0.0)

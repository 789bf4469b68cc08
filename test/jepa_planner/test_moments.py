"""Simulated time that is not heard of goes on: how far is known from the steady clock."""

from __future__ import annotations

import pytest

from jepa_planner.moments import Moments


class Clocks:
    """Both clocks, as a test sets them."""

    ros, steady = 100.0, 7.0

    def moments(self, is_simulated: bool) -> Moments:
        return Moments(lambda: self.ros, is_simulated, lambda: self.steady)


def test_simulated_time_that_stands_still_may_have_gone_on_for_as_long() -> None:
    clocks = Clocks()
    moments = clocks.moments(is_simulated=True)
    assert moments.now().behind == 0.0
    clocks.steady += 0.06
    now = moments.now()
    assert (now.ros, now.steady) == (100.0, 7.06) and now.behind == pytest.approx(0.06)
    clocks.ros += 0.06
    assert moments.now().behind == 0.0


def test_simulation_that_is_paused_does_not_go_on_without_end() -> None:
    clocks = Clocks()
    moments = clocks.moments(is_simulated=True)
    moments.now()
    clocks.steady += 60.0
    assert 0.1 <= moments.now().behind <= 0.3


def test_wall_time_is_never_behind() -> None:
    clocks = Clocks()
    moments = clocks.moments(is_simulated=False)
    moments.now()
    clocks.steady += 0.06
    assert moments.now().behind == 0.0

"""A rate limit lets bursts through, bounds what comes in the long run, and never loses the last word."""

from __future__ import annotations

import pytest

from jepa_common.rate_limit import RateLimit


def test_burst_is_let_through_and_the_newest_of_the_rest_later() -> None:
    limit: RateLimit[int] = RateLimit(rate=2.0, burst=3)
    assert [limit.offer(item, 10.0) for item in range(6)] == [True, True, True, False, False, False]
    assert limit.due(10.1) is None and limit.dropped == 2
    assert limit.due(10.6) == 5 and limit.due(20.0) is None


def test_rate_is_bounded_in_the_long_run() -> None:
    limit: RateLimit[int] = RateLimit(rate=5.0, burst=4)
    used = 0
    for tick in range(2000):  # 200 Hz for 10 s
        now = tick / 200
        used += limit.offer(tick, now)
        used += limit.due(now) is not None
    assert 50 <= used <= 55


def test_item_that_waits_gives_way_to_a_newer_one_that_is_let_through() -> None:
    limit: RateLimit[str] = RateLimit(rate=1.0, burst=1)
    assert limit.offer("a", 0.0) and not limit.offer("b", 0.1)
    assert limit.offer("c", 5.0) and limit.due(9.0) is None


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (1.0, 0), (float("nan"), 1)])
def test_senseless_limits_are_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="expected a positive rate"):
        RateLimit(rate, burst)

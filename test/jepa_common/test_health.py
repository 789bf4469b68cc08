import pytest

from jepa_common.health import HealthMonitor, Level


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_rate_and_latency_are_those_of_the_recent_successes(clock):
    health = HealthMonitor(clock=clock)
    for _ in range(5):
        health.succeeded(0.02)
        clock.now += 0.1
    report = health.report()
    assert float(report.values["rate_hz"]) == pytest.approx(8.0)
    assert float(report.values["latency_ms"]) == pytest.approx(20.0)
    assert report.level == Level.OK


def test_the_rate_falls_when_nothing_new_comes(clock):
    health = HealthMonitor(clock=clock)
    health.succeeded(0.01)
    clock.now += 0.1
    health.succeeded(0.01)
    clock.now += 100.0
    assert float(health.report().values["rate_hz"]) < 0.02


def test_an_error_is_a_warning_for_a_while_and_stays_in_the_values(clock):
    health = HealthMonitor(clock=clock, error_seconds=5.0)
    health.failed("the image is empty")
    assert health.report().level == Level.WARN
    assert health.report().message == "the image is empty"
    clock.now += 6.0
    report = health.report()
    assert report.level == Level.OK
    assert report.values["last_error"] == "the image is empty"
    assert report.values["errors"] == "1"


def test_a_measured_value_is_reported_until_the_next_one():
    health = HealthMonitor()
    assert "surprise" not in health.report().values
    health.measured("surprise", 0.25)
    health.measured("surprise", 0.125)
    assert health.report().values["surprise"] == "0.125"

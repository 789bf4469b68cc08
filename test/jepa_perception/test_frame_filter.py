from jepa_perception.frame_filter import Decision, FrameFilter

SECOND = 1_000_000_000


def decisions(frames: FrameFilter, *seconds: float) -> list[Decision]:
    return [frames.decide(round(value * SECOND)) for value in seconds]


def test_frames_without_a_stamp_are_never_taken():
    assert decisions(FrameFilter(), 0.0) == [Decision.NO_STAMP]


def test_repeated_and_late_frames_are_dropped():
    assert decisions(FrameFilter(), 5.0, 5.0, 4.9, 5.1) == [
        Decision.TAKE,
        Decision.REPEATED,
        Decision.REPEATED,
        Decision.TAKE,
    ]


def test_the_rate_is_kept_in_spite_of_jitter():
    taken = decisions(FrameFilter(max_rate=10.0), *(1.0 + 0.0333 * n for n in range(31)))
    assert taken.count(Decision.TAKE) == 11
    assert decisions(FrameFilter(max_rate=10.0), 1.0, 1.095, 1.2) == [Decision.TAKE] * 3


def test_time_that_was_set_back_starts_anew():
    assert decisions(FrameFilter(), 100.0, 1.0, 1.1) == [Decision.TAKE] * 3

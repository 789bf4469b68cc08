from hypothesis import given
from hypothesis import strategies as st

from jepa_common.stamps import age_seconds, to_nanoseconds, to_stamp


@given(st.integers(min_value=0, max_value=2**31 * 10**9 - 1))
def test_stamps_survive_the_round_trip_exactly(nanoseconds):
    assert to_nanoseconds(to_stamp(nanoseconds)) == nanoseconds


def test_age_is_negative_for_stamps_in_the_future():
    assert age_seconds(to_stamp(2_500_000_000), to_stamp(1_000_000_000)) == -1.5

"""Message stamps as integers: exact, hashable, and comparable, which seconds in a float are not."""

from builtin_interfaces.msg import Time

NANOSECONDS_PER_SECOND = 1_000_000_000


def to_nanoseconds(stamp: Time) -> int:
    """Nanoseconds since the epoch of `stamp`; the form in which stamps name latents inside the nodes."""
    return int(stamp.sec) * NANOSECONDS_PER_SECOND + int(stamp.nanosec)


def to_stamp(nanoseconds: int) -> Time:
    """The message form of `nanoseconds` since the epoch."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS_PER_SECOND)
    return Time(sec=seconds, nanosec=rest)


def age_seconds(stamp: Time, now: Time) -> float:
    """Seconds from `stamp` to `now`; negative when the stamp lies in the future."""
    return (to_nanoseconds(now) - to_nanoseconds(stamp)) / NANOSECONDS_PER_SECOND

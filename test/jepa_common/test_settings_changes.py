"""Settings that were written down are compared with those of today, also when either has more of them."""

from dataclasses import dataclass, field
from pathlib import Path

from jepa_common.settings_changes import changed_settings, plain


@dataclass(frozen=True)
class Inner:
    size: int = 3
    names: tuple[str, ...] = ("a",)


@dataclass(frozen=True)
class Outer:
    data: Path
    rate: float = 4.0
    inner: Inner = field(default_factory=lambda: Inner(size=5))


def test_equal_settings_have_not_changed_whatever_holds_them():
    assert plain(Outer(Path("x"))) == {"data": "x", "rate": 4.0, "inner": {"size": 5, "names": ["a"]}}
    assert changed_settings(plain(Outer(Path("x"))), Outer(Path("x"))) == []


def test_changes_are_named_also_within_groups():
    changed = Outer(Path("y"), rate=3.0, inner=Inner(size=5, names=("a", "b")))
    assert changed_settings(plain(Outer(Path("x"))), changed) == ["data", "inner.names", "rate"]
    assert changed_settings(plain(Outer(Path("x"))), changed, {"data", "names"}) == ["rate"]


def test_what_was_not_written_down_had_its_default():
    assert changed_settings({"data": "x"}, Outer(Path("x"))) == []
    assert changed_settings({"data": "x"}, Outer(Path("x"), rate=3.0, inner=Inner())) == ["inner.size", "rate"]
    assert changed_settings({}, Outer(Path("x"))) == []

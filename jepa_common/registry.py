"""Things that are chosen by name: this package's own, and those that installed packages add by entry points.

Another package adds one with a line in its ``pyproject.toml``::

    [project.entry-points."jepa_ros.encoders"]
    mine = "my_package.my_module:MINE"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

Thing = TypeVar("Thing")


class UnknownNameError(ValueError):
    """Nothing is registered under a name; the message lists the names that are."""


@dataclass(frozen=True)
class Registry(Generic[Thing]):
    """Things of one kind by name. A thing's module is imported when the thing is asked for, not before.

    Attributes:
        group: of the entry points by which other packages add to it, such as ``jepa_ros.encoders``.
        noun: what one of them is called in messages, such as "kind of encoder".
        own: this package's, as ``module:object``. Their names cannot be taken by another package.
    """

    group: str
    noun: str
    own: Mapping[str, str]
    _loaded: dict[str, Thing] = field(default_factory=dict, init=False, repr=False, compare=False)

    def names(self) -> tuple[str, ...]:
        """Every name: this package's first, then the others in alphabetical order."""
        added = {point.name for point in entry_points(group=self.group)}
        return (*self.own, *sorted(added - self.own.keys()))

    def load(self, name: str) -> Thing:
        """The thing of that name.

        Raises:
            UnknownNameError: there is none.
            ImportError, AttributeError: its package announces what it does not have.
        """
        if name not in self._loaded:
            self._loaded[name] = cast(Thing, self._entry_point(name).load())
        return self._loaded[name]

    def _entry_point(self, name: str) -> EntryPoint:
        if name in self.own:
            return EntryPoint(name, self.own[name], self.group)
        for point in entry_points(group=self.group, name=name):
            return point
        raise UnknownNameError(
            f"expected a {self.noun} of {', '.join(self.names())}, got {name!r}; one of another package is found "
            f"when that package is installed and names it in its entry points {self.group!r}"
        )

"""The files that a conversion reads: what an unfinished one may go on with, and what must not change meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jepa_common.file_identity import file_stamps


class SourceChangedError(ValueError):
    """A source was changed while it was read: the beginning and the end would not belong together."""


@dataclass(frozen=True)
class SourceFiles:
    """Files of a source.

    Attributes:
        source: what a person named.
        paths: its files.
        identity: changes with any of them.
    """

    source: Path
    paths: Sequence[Path]
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        """Raises OSError when one is missing."""
        object.__setattr__(self, "identity", file_stamps(self.paths))

    def check_unchanged(self) -> None:
        """Raises SourceChangedError when a file is not what it was at first."""
        if file_stamps(self.paths) != self.identity:
            raise SourceChangedError(f"{self.source} was changed while it was converted: convert it again")

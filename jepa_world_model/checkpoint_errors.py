"""The one error that reading, writing and converting checkpoints raises."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A file that cannot be used as asked; the message says what was expected, what came and what to do."""

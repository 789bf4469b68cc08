"""``jepa convert SOURCE TARGET``: official checkpoints become checkpoints of this package."""

from __future__ import annotations

from jepa_world_model.convert import ConvertConfig
from jepa_world_model.convert import convert as convert_checkpoint


def convert(config: ConvertConfig) -> None:
    """Convert, and print what was written and what was left out.

    Raises:
        ValueError: the source cannot be converted; the message says why.
    """
    print(convert_checkpoint(config))

"""Names of parameters without what wrappers of modules put into them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from jepa_world_model.checkpoint_errors import CheckpointError

_ANYWHERE = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and activation checkpointing put in, also around single blocks."""


def unwrapped(name: str, wrappers: Collection[str]) -> str:
    """A parameter's own name.

    Args:
        name: as stored, such as "module._orig_mod.backbone.norm.bias".
        wrappers: names that may stand in front of it, in any order and number, such as "module".
    """
    name = _ANYWHERE.sub("", name)
    while (parts := name.partition("."))[0] in wrappers and parts[2]:
        name = parts[2]
    return name


def unwrapped_names(names: Iterable[str], wrappers: Collection[str], source: str) -> Mapping[str, str]:
    """The own name of each stored one, in order.

    Raises:
        CheckpointError: two of them are the same parameter.
    """
    known: dict[str, str] = {}
    for name in names:
        own = unwrapped(name, wrappers)
        if own in known:
            raise CheckpointError(f"{source} has {own} twice, as {known[own]} and as {name}: expected one of each")
        known[own] = name
    return {name: own for own, name in known.items()}

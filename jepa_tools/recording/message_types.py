"""Message definitions for bags, from the installed packages' `.msg` files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

HEADER_TYPE = "std_msgs/msg/Header"

ShareFolder = Callable[[str], Path]
"""Takes a package's name and returns its share folder; raises LookupError when it is not installed."""


class UnknownMessageTypeError(LookupError):
    """No definition of a message type was found."""


def installed_share_folder(package: str) -> Path:
    """The share folder of a package, of the sourced installations or of this Python environment.

    Raises:
        LookupError: the package is in none of them.
    """
    sourced = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    for prefix in (*filter(None, sourced), sys.prefix):
        folder = Path(prefix) / "share" / package
        if folder.is_dir():
            return folder
    raise LookupError(f"package {package} is not installed")


class MessageTypes:
    """Definitions of message types, found when they are first asked for. Not thread-safe.

    The installed package's own definition counts; `rosbags` has those of packages that are not installed here.
    """

    def __init__(self, share_folder: ShareFolder = installed_share_folder) -> None:
        self.store: Typestore = get_typestore(Stores.EMPTY)
        self._share_folder = share_folder

    def require(self, name: str) -> None:
        """Makes sure that `store` holds the type and everything in it.

        Args:
            name: such as "jepa_ros/msg/Latent".

        Raises:
            UnknownMessageTypeError: neither an installed package nor `rosbags` defines it.
        """
        if name in self.store.fielddefs:
            return
        self.store.register({name: self._definition(name)})
        for nested in nested_names(self.store.fielddefs[name][1]):
            self.require(nested)

    def starts_with_header(self, name: str) -> bool:
        """Whether messages of this type begin with a `std_msgs/Header`."""
        self.require(name)
        fields = self.store.fielddefs[name][1]
        return bool(fields) and fields[0][1] == (Nodetype.NAME, HEADER_TYPE)

    def _definition(self, name: str) -> Any:
        package, *_, kind = name.split("/")
        try:
            path = self._share_folder(package) / "msg" / f"{kind}.msg"
            return get_types_from_msg(path.read_text(encoding="utf-8"), name)[name]
        except (LookupError, OSError) as error:
            known = get_typestore(Stores.LATEST).fielddefs
            if name in known:
                return known[name]
            raise UnknownMessageTypeError(
                f"no definition of {name}: expected it in the share folder of the package {package} ({error})"
            ) from error


def nested_names(fields: Any) -> Iterator[str]:
    """Names of the message types in a parsed list of fields, also inside arrays and sequences."""
    for _, (node, details) in fields:
        if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            node, details = details[0]
        if node == Nodetype.NAME:
            yield details

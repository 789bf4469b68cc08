"""Message types as a bag defines them, parsed when one is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from jepa_tools.bags.storage import Definition
from jepa_tools.recording.message_types import nested_names

Fields = Mapping[str, Any]
_UNREADABLE = (TypesysError, ValueError, KeyError, IndexError, AssertionError, RecursionError)
_IDL_SECTION = "=" * 80 + "\nIDL: "


class BagDefinitions:
    """Finds the types of a bag's messages. Not thread-safe.

    The bag's own definition counts. Where it has none (recorders before Iron, channels without a schema) or one that
    does not parse, that of the newest distribution stands in.
    """

    def __init__(self, definitions: Mapping[str, Definition]) -> None:
        """Definitions by the name of the type, such as "sensor_msgs/msg/Image"."""
        self._definitions = definitions
        self._known = get_typestore(Stores.LATEST).fielddefs
        self._stores: dict[str, Typestore] = {}

    def store(self, name: str) -> Typestore:
        """A store with this type and everything in it.

        Raises:
            LookupError: neither the bag nor the newest distribution defines it, or the bag defines it without
                something that belongs to it.
        """
        if name not in self._stores:
            fields: dict[str, Any] = {}
            self._collect(name, {}, fields)
            store = get_typestore(Stores.EMPTY)
            store.register(fields)
            self._stores[name] = store
        return self._stores[name]

    def _collect(self, name: str, beside: Fields, collected: dict[str, Any]) -> None:
        """Adds a type and what it holds; `beside` are the types that came with the definition that names it."""
        if name in collected:
            return
        own = beside if name in beside else self._parsed(name)
        fields = own if name in own else self._known
        if name not in fields:
            raise LookupError(f"no definition of {name} in the bag or in the newest distribution")
        if absent := self._field_names(self._known, name) - self._field_names(fields, name):
            raise LookupError(f"the bag defines {name} without {', '.join(sorted(absent))}")
        collected[name] = fields[name]
        for nested in nested_names(fields[name][1]):
            self._collect(nested, own, collected)

    @staticmethod
    def _field_names(types: Fields, name: str) -> set[str]:
        return {field for field, _ in types[name][1]} if name in types else set()

    def _parsed(self, name: str) -> Fields:
        """What the bag's definition of a type defines; nothing if it has none that parses."""
        definition = self._definitions.get(name)
        if definition is None:
            return {}
        text = definition.text.replace("\r\n", "\n")
        try:
            if definition.encoding == "ros2msg":
                return get_types_from_msg(text, name)
            if definition.encoding == "ros2idl":
                return {key: value for part in _idl_sections(text) for key, value in get_types_from_idl(part).items()}
        except _UNREADABLE:
            return {}
        return {}


def _idl_sections(text: str) -> Iterator[str]:
    """The IDL files in a definition, each behind a line with its name; or the one that it is."""
    if _IDL_SECTION not in text:
        yield text
        return
    for section in text.split(_IDL_SECTION)[1:]:
        yield section.partition("\n")[2]

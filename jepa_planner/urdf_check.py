"""What is checked of a robot description before a parser that recurses reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

# More than any robot has: a mobile base with two arms and their hands has some 150 links, each 30 deep at most.
MAX_BYTES = 1 << 23
MAX_ELEMENTS = 50_000
MAX_NESTING = 32
MAX_LINKS = 1000
MAX_CHAIN = 200


def check_urdf(text: str) -> None:
    """Raises ValueError for a description that is too large or too deep, that is no tree, or that is no XML.

    Parsers of URDF follow a chain of links, and nested elements, by recursion: a few thousand overflow their stack and
    end the process.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} characters, got {len(text)}")
    outline = _Outline()
    outline.read(text)
    if len(outline.parents) > MAX_LINKS:
        raise ValueError(f"expected at most {MAX_LINKS} joints, got {len(outline.parents)}")
    _check_tree(outline.parents)


def _check_tree(parents: Mapping[str, str]) -> None:
    for link in parents:
        length, above = 0, link
        while above in parents:
            length, above = length + 1, parents[above]
            if length > MAX_CHAIN:
                raise ValueError(
                    f"expected chains of at most {MAX_CHAIN} joints, that to the link {link!r} is "
                    "longer, or goes round in a circle"
                )


@dataclass
class _Outline:
    """The joints of a description: the parent link by the child link."""

    parents: dict[str, str] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _elements: int = 0
    _parent: str = ""
    _child: str = ""

    def read(self, text: str) -> None:
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        # Entities that are made of entities unfold without bound; no robot needs them.
        parser.StartDoctypeDeclHandler = self._refuse_document_type
        try:
            parser.Parse(text, True)
        except expat.ExpatError as error:
            raise ValueError(f"not a URDF: {error}") from error

    def _refuse_document_type(self, *_: object) -> None:
        raise ValueError("expected no document type declaration")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(name)
        self._elements += 1
        if len(self._open) > MAX_NESTING or self._elements > MAX_ELEMENTS:
            raise ValueError(f"expected at most {MAX_ELEMENTS} elements, nested at most {MAX_NESTING} deep")
        if self._open[1:-1] == ["joint"] and name in ("parent", "child"):
            link = attributes.get("link", "")
            self._parent, self._child = (link, self._child) if name == "parent" else (self._parent, link)

    def _end(self, name: str) -> None:
        self._open.pop()
        if name == "joint" and len(self._open) == 1 and self._child:
            if self._child in self.parents:
                raise ValueError(f"the link {self._child!r} is the child of several joints")
            self.parents[self._child] = self._parent
            self._parent = self._child = ""

"""The page that every report is: one HTML file that needs nothing beside it, light and dark, for desk, phone and paper.

What a page and its parts look like stands in `page.html`, `parts.html` and the style sheets beside this file. Functions
give HTML, and take plain text unless they say otherwise.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from matplotlib.figure import Figure

from jepa_common.whole_files import write_whole
from jepa_tools.reports.charts import svg
from jepa_tools.reports.picture_grid import PictureGrid


def _data_uri(picture: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode('ascii')}"


_TEMPLATES = Environment(
    loader=PackageLoader(__package__ or "jepa_tools.reports", "."), autoescape=True, keep_trailing_newline=True
)
_TEMPLATES.filters["data_uri"] = _data_uri
_PARTS: Any = _TEMPLATES.get_template("parts.html").module


def page(title: str, body: Iterable[str]) -> str:
    """A whole document; `body` is HTML."""
    return _TEMPLATES.get_template("page.html").render(title=title, body=Markup("\n".join(body)))  # noqa: S704


def write_page(path: Path, title: str, body: Iterable[str]) -> Path:
    """Writes a document that is there whole or not at all, and returns its path, whose folder is made."""
    write_whole(path, page(title, body))
    return path


def text(value: object) -> str:
    """A value as HTML shows it."""
    return html.escape(str(value))


def verdict(answers: Iterable[tuple[str, str]]) -> str:
    """What a reader wants to know first: questions and their answers."""
    return str(_PARTS.verdict(answers))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], kind: Literal["", "words", "read"] = "") -> str:
    """A table: numbers, "words" that begin at the left, or "read": numbers with words at the end."""
    return str(_PARTS.table(heads, rows, kind))


def chart(figure: Figure, caption: str) -> str:
    """A chart in the page's colours."""
    return str(_PARTS.figure(Markup(svg(figure, caption)), caption))  # noqa: S704


def charts(items: Iterable[str]) -> str:
    """Charts, HTML, beside each other where there is room."""
    return str(_PARTS.charts(map(Markup, items)))


def strip(pictures: Iterable[tuple[str, bytes]], goal_first: bool = False) -> str:
    """JPEG pictures (caption, file) in a row that scrolls; the first may be marked as the goal."""
    return str(_PARTS.strip(pictures, goal_first))


def grids(items: Iterable[PictureGrid]) -> str:
    """Grids of pictures beside each other where there is room."""
    return str(_PARTS.grids(items))


def notes(lines: Iterable[str]) -> Iterator[str]:
    """Plain text that is of less weight, a paragraph each."""
    yield from (f'<p class="note">{text(line)}</p>' for line in lines)

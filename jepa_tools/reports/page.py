"""The page that every report is: one HTML file that needs nothing beside it, light and dark, for desk, phone and paper.

Everything takes and gives HTML; what comes from outside goes through :func:`text` first.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from jepa_common.whole_files import write_whole
from jepa_tools.reports.charts import svg

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2937; --soft: #5b6472; --line: #dfe3e8; --page: #ffffff; --card: #f6f7f9;
  --good: #1f7a4a; --bad: #b4451a; --accent: #2563a8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a3acb8; --line: #343b45; --page: #14171b;
  --card: #1d2127; --good: #63c08e; --bad: #ee9161; --accent: #7db2ea; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 1120px;
  margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .3em 0; }
h2 { font-size: 1.25rem; margin: 2.4em 0 .5em; padding-top: 1em; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8em 0 .4em; }
p { max-width: 75ch; margin: .5em 0; }
code { background: var(--card); padding: .1em .3em; border-radius: 3px; font-size: .9em; }
.note, figcaption, summary { color: var(--soft); } .note, figcaption { font-size: .875rem; }
.error, .failure { color: var(--bad); } .success { color: var(--good); }
.verdict { background: var(--card); border-left: 4px solid var(--accent); border-radius: 4px; padding: .6em 1.1em;
  margin: 1.2em 0; }
.verdict dl { margin: .2em 0; } .verdict dt { font-weight: 600; margin-top: .5em; }
.verdict dd { margin: 0; max-width: 80ch; }
.wide { overflow-x: auto; margin: .8em 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35em .8em; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; border-bottom-width: 2px; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.read th:last-child, .read td:last-child { text-align: left; color: var(--soft); }
.words th, .words td { text-align: left; }
figure { margin: 0; } figcaption { margin-top: .2em; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.6em;
  margin: 1em 0; }
.charts svg { width: 100%; height: auto; max-width: 40rem; }
.strip { display: flex; gap: 6px; overflow-x: auto; padding-bottom: .4em; }
.strip figure { flex: none; } .strip img { display: block; height: 8.5rem; border-radius: 3px; }
.strip .goal img { outline: 3px solid var(--accent); outline-offset: -3px; }
.grids { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.2em 2.4em; }
.grid table { font-size: .8rem; width: 100%; } .grid td, .grid th { border: 0; padding: 2px; text-align: center; }
.grid th:first-child { text-align: left; width: 6.5em; padding-right: .5em; vertical-align: middle; }
.grid img { display: block; width: 100%; min-width: 4.2rem; border-radius: 3px; }
@media (max-width: 40rem) { body { font-size: 15px; padding: 1rem .8rem 3rem; } .grid th:first-child { width: 5em; }
  th, td { padding: .3em .5em; } }
@media print { :root { --ink: #000; --soft: #444; --line: #bbb; --page: #fff; --card: #f3f3f3; --good: #1f7a4a;
  --bad: #b4451a; --accent: #2563a8; color-scheme: light; } body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2, h3 { break-after: avoid; } figure, tr, .verdict, .grid { break-inside: avoid; }
  .strip, .wide { overflow: visible; flex-wrap: wrap; } .strip img { height: 5.5rem; } details { display: block; } }
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole document; `title` is plain text, `body` HTML."""
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>"
    )
    return "\n".join([head, *body, "</body></html>\n"])


def write_page(path: Path, title: str, body: Iterable[str]) -> Path:
    """Writes a document that is there whole or not at all, and returns its path, whose folder is made."""
    write_whole(path, page(title, body))
    return path


def text(value: object) -> str:
    """A value as HTML shows it."""
    return html.escape(str(value))


def verdict(answers: Iterable[tuple[str, str]]) -> str:
    """What a reader wants to know first: questions and their answers, plain text."""
    entries = "".join(f"<dt>{text(question)}</dt><dd>{text(answer)}</dd>" for question, answer in answers)
    return f'<div class="verdict"><dl>{entries}</dl></div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], kind: Literal["", "words", "read"] = "") -> str:
    """A table of plain text: numbers, "words" that begin at the left, or "read": numbers with words at the end."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def chart(figure: Figure, caption: str) -> str:
    """A chart in the page's colours; `caption` is plain text."""
    return f"<figure>{svg(figure, caption)}<figcaption>{text(caption)}</figcaption></figure>"


def charts(items: Iterable[str]) -> str:
    """Charts beside each other where there is room."""
    return f'<div class="charts">{"".join(items)}</div>'


def image(data: bytes, caption: str, kind: str = "jpeg") -> str:
    """A picture file as an element; `caption` describes it."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return f'<img src="{source}" alt="{text(caption)}">'


def strip(pictures: Iterable[tuple[str, bytes]], goal_first: bool = False) -> str:
    """JPEG pictures (caption, file) in a row that scrolls; the first may be marked as the goal."""
    figures = (
        f"<figure{_goal_class(goal_first and index == 0)}>{image(data, caption)}"
        f"<figcaption>{text(caption)}</figcaption></figure>"
        for index, (caption, data) in enumerate(pictures)
    )
    return f'<div class="strip">{"".join(figures)}</div>'


def _goal_class(marked: bool) -> str:
    return ' class="goal"' if marked else ""


def notes(lines: Iterable[str]) -> Iterator[str]:
    """Plain text that is of less weight, a paragraph each."""
    yield from (f'<p class="note">{text(line)}</p>' for line in lines)

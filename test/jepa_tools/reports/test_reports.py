"""The page of the reports: whole without anything beside it, in its reader's colours, and safe from what it quotes."""

import re
from xml.etree import ElementTree

import pytest

from jepa_tools.reports import page
from jepa_tools.reports.charts import BLUE, curve_figure
from jepa_tools.reports.landscape import Landscape, landscape_figure


def curves(scale: float):
    return curve_figure([1, 2, 3], [("error", [scale, 2.0, 3.0], BLUE, "-")], "steps ahead", "error (cm)")


def test_charts_take_the_pages_ink_and_say_what_their_axes_are():
    chart = page.chart(curves(1.0), "Error <by> horizon")
    drawing = re.search(r"<svg.*</svg>", chart, re.DOTALL).group()
    assert "currentColor" in drawing and "var(--line)" in drawing and BLUE in drawing
    assert not re.search(r"#0a0b0c|#0d0e0f|(?:fill|stroke): ?#(?:000000|ffffff)", drawing)
    words = {
        "".join(item.itertext()).strip() for item in ElementTree.fromstring(drawing).iter() if item.tag.endswith("text")
    }
    assert {"steps ahead", "error (cm)", "error"} <= words
    assert 'aria-label="Error &lt;by&gt; horizon"' in drawing and "<by>" not in chart


def test_marks_of_different_charts_on_one_page_do_not_share_names_and_the_same_chart_is_the_same_text():
    first, second, again = (page.chart(curves(scale), "Errors") for scale in (1.0, 2.0, 1.0))
    assert first == again
    shared = names(first, "clip") & names(second, "clip")
    assert names(first, "clip") and not shared


def names(chart: str, kind: str) -> set[str]:
    """Identifiers of a kind of element."""
    return set(re.findall(rf"<{kind}\w* id=\"([^\"]+)\"", chart))


def test_a_page_refers_to_nothing_and_is_for_light_dark_phone_and_paper():
    text = page.page("<title>", [page.strip([("a & b", b"jpeg")]), page.table(["", "cm"], [["<row>", "1"]])])
    assert "<title>&lt;title&gt;</title>" in text and "&lt;row&gt;" in text and "a &amp; b" in text
    assert not re.search(r'(?:src|href)="(?!data:)|@import|url\(', text)
    for condition in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem", "width=device-width"):
        assert condition in text


def test_a_page_is_written_whole_into_a_folder_that_is_made(tmp_path):
    path = page.write_page(tmp_path / "new" / "report.html", "title", ["<p>body</p>"])
    assert path.read_text().endswith("</html>\n") and [item.name for item in path.parent.iterdir()] == ["report.html"]

    def broken():
        yield "<p>half</p>"
        raise ValueError("no second half")

    with pytest.raises(ValueError, match="second half"):
        page.write_page(path, "title", broken())
    assert "<p>body</p>" in path.read_text()


def test_a_landscape_names_its_axes_and_marks_hand_lowest_energy_and_goal():
    landscape = Landscape(
        "title", ("x", "z"), (-1.0, 0.0, 1.0), ((3.0, 2.0, 3.0), (2.0, 1.0, 0.5), (3.0, 2.0, 3.0)), (1.0, 0.5)
    )
    assert landscape.lowest_cm == (1.0, 0.0)
    drawing = page.chart(landscape_figure(landscape), landscape.title)
    for words in (
        "step along x, cm",
        "step along z, cm",
        "hand now",
        "lowest energy",
        "where the goal is",
        "energy (latent",
    ):
        assert words in drawing

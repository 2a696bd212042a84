"""Pages: one self-contained HTML file out of text, tables and plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2


@dataclass(frozen=True)
class Section:
    """A part of a page: a title and any of a paragraph, a table and a plot.

    Attributes:
        title: Its heading.
        text: A paragraph.
        header: Column names of the table.
        rows: Rows of the table.
        svg: A plot, as SVG.
    """

    title: str
    text: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    svg: str = ""


def write_page(
    path: Path,
    title: str,
    lead: str,
    sections: Sequence[Section],
    *,
    figures: Sequence[tuple[str, str]] = (),
    footer: str = "",
) -> None:
    """Write a page in one step.

    Args:
        path: The file.
        title: Its title.
        lead: What it shows, in a sentence or two.
        sections: Its parts, in order.
        figures: Headline figures, as value and label.
        footer: The machine and the like.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template("page.html.j2").render(
        title=title, lead=lead, sections=sections, figures=figures, footer=footer
    )
    partial = path.with_name(path.name + ".partial")
    partial.write_text(html, encoding="utf-8")
    partial.replace(path)

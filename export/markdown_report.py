"""Reports as Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path

# header, and rows of cells
Table = tuple[list[str], list[list[str]]]


def to_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def write_markdown(
    path: Path,
    title: str,
    lead: str,
    tables: Mapping[str, Table],
    said: Sequence[str] = (),
    footer: str = "",
) -> None:
    """Write a report in one step.

    Args:
        path: The file.
        title: Its title.
        lead: What it shows.
        tables: Tables by heading; no heading where that is empty.
        said: What follows, one item each.
        footer: The machine and the like.
    """
    parts = [f"# {title}", lead]
    for heading, table in tables.items():
        parts += [f"## {heading}"] if heading else []
        parts.append(to_table(*table))
    parts += ["\n".join(f"- {item}" for item in said)] if said else []
    parts += [footer] if footer else []
    partial = path.with_name(path.name + ".partial")
    partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    partial.replace(path)

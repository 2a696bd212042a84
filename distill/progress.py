"""Progress bars, on a terminal only."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


def shown(show: bool) -> Progress:
    """Return a bar whose tasks have a field `best`; it stays dark where there is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[best]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (show and console.is_terminal),
    )


def tracked(items: Iterable[Item], total: int, title: str, *, show: bool) -> Iterator[Item]:
    """Yield items, showing how many of a total are done."""
    with shown(show) as bar:
        task = bar.add_task(title, total=total, best="")
        for item in items:
            yield item
            bar.advance(task)

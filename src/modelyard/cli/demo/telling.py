"""What the demo prints: a line a step with its time, then both sides' predictions. Readable in a pipe, too."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

#: How far two floating-point computations of the same thing may lie apart, relative to their size.
TOLERANCE = 1e-9


class Compared(NamedTuple):
    """One prediction, made twice."""

    what: str
    here: float
    served: float

    @property
    def agrees(self) -> bool:
        """Whether both are the same but for rounding."""
        return abs(self.here - self.served) <= TOLERANCE * max(abs(self.here), 1.0)


class Step:
    """A step under way; `note` adds what came of it."""

    def __init__(self) -> None:
        self.came_of_it = ""

    def note(self, words: str) -> None:
        """Says what came of the step."""
        self.came_of_it = words


class Teller:
    """Prints to one console."""

    def __init__(self, console: Console) -> None:
        self._console, self._start = console, time.monotonic()

    def title(self, words: str, *lines: str) -> None:
        """The first words."""
        self._console.print(f"\n[bold]{escape(words)}[/]")
        for line in lines:
            self._console.print(f"[dim]{escape(line)}[/]")
        self._console.print()

    @contextmanager
    def step(self, words: str) -> Iterator[Step]:
        """One step: a spinner while it goes on, and one line when it has ended."""
        start, step = time.monotonic(), Step()
        try:
            with self._console.status(f"[dim]{escape(words)}[/]", spinner="dots"):
                yield step
        except BaseException:
            self._line("[red]x[/]", start, words, "")
            raise
        self._line("[green]*[/]", start, words, step.came_of_it)

    def compare(self, compared: Sequence[Compared]) -> None:
        """The predictions of both sides, one beside the other."""
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
        table.add_column("")
        table.add_column("here", justify="right")
        table.add_column("served", justify="right")
        table.add_column("")
        for each in compared:
            verdict = "[green]equal[/]" if each.agrees else f"[bold red]differ by {abs(each.here - each.served):.3g}[/]"
            table.add_row(each.what, f"{each.here:.6f}", f"{each.served:.6f}", verdict)
        self._console.print()
        self._console.print(table)

    def end(self, *lines: str) -> None:
        """The last words, with the time that all took."""
        self._console.print(f"\n[bold]{time.monotonic() - self._start:.1f} s in all.[/] {escape(lines[0])}")
        for line in lines[1:]:
            self._console.print(f"[dim]{escape(line)}[/]")

    def _line(self, mark: str, start: float, words: str, came_of_it: str) -> None:
        took = f"{time.monotonic() - start:5.1f} s"
        self._console.print(
            f"{mark} [dim]{took}[/]  {escape(words)}" + (f"  [dim]{escape(came_of_it)}[/]" if came_of_it else "")
        )

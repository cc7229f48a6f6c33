"""What a benchmark found, as rows of a table: the figure, the budget, the reference of the same run, met or not."""

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    #: Repetitions of each measurement; figures are their medians.
    rounds: int = 3
    #: Seconds of load in each repetition.
    seconds: float = 3.0
    #: Rows of the large table.
    rows: int = 10_000_000
    #: Size of the imported file.
    megabytes: int = 200
    #: Trainings that are begun at once.
    trainings: int = 100
    #: Rows of the table that is predicted.
    batch_rows: int = 5_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    budget: str = ""
    #: The figure in terms of the reference named in `against`.
    ratio: str = ""
    against: str = ""
    #: None where there is no budget.
    met: bool | None = None


HEAD = ("what", "figure", "budget", "ratio", "against", "met")


def at_most(what: str, figure: float, limit: float, unit: str, ratio: str = "", against: str = "") -> Row:
    """A row whose figure must not be larger than its budget."""
    budget = f"<= {limit:g} {unit}"
    return Row(
        what, f"{figure:.3g} {unit}", budget, ratio or f"{figure / limit:.2f}", against or "budget", figure <= limit
    )


def at_least(what: str, figure: float, limit: float, unit: str, ratio: str = "", against: str = "") -> Row:
    """A row whose figure must not be smaller than its budget."""
    budget = f">= {limit:g} {unit}"
    return Row(
        what, f"{figure:,.0f} {unit}", budget, ratio or f"{figure / limit:.2f}", against or "budget", figure >= limit
    )


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of all lies; NaN of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def spread(values: Sequence[float]) -> str:
    """Lowest and highest, to show how noisy the machine was."""
    return f"{min(values):.3g} to {max(values):.3g}"


def load() -> str:
    """How busy the machine is apart from us."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def as_markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table with even columns."""
    lines = [HEAD, *((each.what, each.figure, each.budget, each.ratio, each.against, _word(each.met)) for each in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def _word(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "NO"

"""`modelyard doctor`: what works on this machine, and how to mend the rest."""

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from modelyard.cli.checks import State, examine
from modelyard.cli.options import Home, load_settings
from modelyard.cli.settings_table import described_settings
from modelyard.settings import Settings

COLOURS = {State.WELL: "green", State.LIMITED: "yellow", State.BROKEN: "bold red"}
SETTINGS = "Print all settings instead: names, values in force, meaning."


def doctor(*, settings: Annotated[bool, Parameter(negative="", help=SETTINGS)] = False, home: Home = None) -> int:
    """Prints the findings, or the settings."""
    found = load_settings(home=home)
    console = Console(soft_wrap=True, highlight=False)
    if settings:
        _print_settings(console, found)
        return 0
    return _print_findings(console, found)


def _print_findings(console: Console, settings: Settings) -> int:
    broken = limited = 0
    for finding in examine(settings):
        state = f"[{COLOURS[finding.state]}]{finding.state:<8}[/]"
        console.print(f"{state}{finding.what:<14}{escape(finding.words)}")
        if finding.mend:
            console.print(f"{'':<22}[dim]{escape(finding.mend)}[/]")
        broken += finding.state is State.BROKEN
        limited += finding.state is State.LIMITED
    if broken:
        console.print(f"\n{broken} broken: mend this before `modelyard serve`.")
    elif limited:
        console.print("\nAll that is required works.")
    else:
        console.print("\nEverything works.")
    return 1 if broken else 0


def _print_settings(console: Console, settings: Settings) -> None:
    for each in described_settings():
        value = each.value(settings)
        changed = value != each.default and each.name != "home"
        console.print(f"[bold]{each.variable}[/]={escape(value)}" + ("  [yellow](set)[/]" if changed else ""))
        console.print(f"    [dim]{escape(each.meaning)}[/]")
    if not sys.stdout.isatty():
        return
    console.print("\nEach is an environment variable; docs/configuration.md lists them with their defaults.")

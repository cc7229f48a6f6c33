"""Options that several commands share, and how they become settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from modelyard.cli.failure import CommandFailed
from modelyard.settings import Settings

Home = Annotated[Path | None, Parameter(help="Where all state lives. Default: $MODELYARD_HOME, else ~/.modelyard.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Verbosity:
    """How much is logged."""

    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="")] = False
    """Log what is of use to developers, too."""

    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    """Log only warnings and errors, and no line for each call."""

    @property
    def level(self) -> str:
        """The name of the least level that is logged."""
        return "DEBUG" if self.verbose else "WARNING" if self.quiet else "INFO"


def load_settings(**overrides: object) -> Settings:
    """The settings of the environment with what was typed on top; CommandFailed if one can't be used."""
    try:
        return Settings.load(None, **overrides)
    except ValueError as error:
        raise CommandFailed(str(error)) from error

"""What can be set, read from `settings.py` itself: names, values and the comment above each field.

`modelyard doctor --settings` prints it; `python -m modelyard.cli.settings_table` prints `docs/configuration.md`.
"""

import inspect
import os
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from modelyard import settings as module
from modelyard.settings import PREFIX, Settings

_FIELD = re.compile(r"((?:    #: .*\n)+)    (\w+): (.+?)(?: = .*)?\n")

PAGE = """# Configuration

Every setting is an environment variable; `modelyard serve`, `modelyard agent` and the other commands read the same
ones, and what is typed on the command line wins. Several values of one setting are separated by `:`, or by commas where
they hold colons themselves. Sizes are in bytes unless the name says GiB, times in seconds. An unknown `MODELYARD_...`
variable is refused, so a misspelt one can't be overlooked. `modelyard doctor --settings` prints this table with the
values in force.

This page is made from the comments in `src/modelyard/settings.py` by `make openapi`.

| Variable | Default | What it is |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Described:
    """One setting."""

    name: str
    variable: str
    meaning: str
    default: str

    def value(self, settings: Settings) -> str:
        """Its value in force, without a password in it."""
        value = _text(getattr(settings, self.name))
        if self.name.endswith("_token") and value:
            return "***"
        return re.sub(r"(://[^:/@]+):[^@]*@", r"\1:***@", value)


def described_settings() -> list[Described]:
    """All settings in the order of the source."""
    comments = {
        found[2]: " ".join(line.strip().removeprefix("#:").strip() for line in found[1].splitlines())
        for found in _FIELD.finditer(inspect.getsource(module))
    }
    return [
        Described(field.name, PREFIX + field.name.upper(), comments[field.name], _default(field))
        for field in msgspec.structs.fields(Settings)
    ]


def configuration_page() -> str:
    """`docs/configuration.md`."""
    rows = [
        f"| `{each.variable}` | {f'`{each.default}`' if each.default else 'empty'} | {each.meaning} |"
        for each in described_settings()
    ]
    return PAGE + "\n".join(rows) + "\n"


def _default(field: msgspec.structs.FieldInfo) -> str:
    return "~/.modelyard" if field.name == "home" else _text(field.default)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return os.pathsep.join(map(str, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int):
        return _size(value)
    return str(value) if isinstance(value, Path | str | float) else repr(value)


def _size(value: int) -> str:
    return str(value)


if __name__ == "__main__":
    print(configuration_page(), end="")

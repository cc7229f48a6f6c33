"""What pip is configured to do on this machine: its configuration files and `PIP_*` variables, read as pip reads them.

Read from the files themselves, so that nothing of pip is imported or started. Later files win, a command's own
section wins over `[global]`, and variables win over all. Source: pip's documentation, "Configuration".
"""

import configparser
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

#: The sections that speak to installing, weakest first.
SECTIONS = ("global", "install")
#: Variables of pip's that are no options.
NOT_OPTIONS = frozenset({"config-file", "version", "help"})


def read_pip_settings(environ: Mapping[str, str], *, prefix: Path | None = None) -> dict[str, str]:
    """Option name (as on pip's command line, without dashes in front) to its raw value."""
    files = list(_files(environ, Path(sys.prefix) if prefix is None else prefix))
    settings: dict[str, str] = {}
    for section in SECTIONS:
        for file in files:
            settings |= _section(file, section)
    return settings | _variables(environ)


def _files(environ: Mapping[str, str], prefix: Path) -> Iterator[Path]:
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == "/dev/null":
        return
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    for folder in reversed(environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")):
        yield Path(folder) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    if not (named and Path(named).exists()):
        yield home / ".pip" / "pip.conf"
        yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield prefix / "pip.conf"
    if named:
        yield Path(named)


def _section(file: Path, section: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return {}  # pip refuses to work with such a file; here the other sources still count
    if not parser.has_section(section):
        return {}
    return {_option(name): value for name, value in parser.items(section) if value}


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    found = {_option(name[4:]): value for name, value in environ.items() if name.startswith("PIP_") and value}
    return {name: value for name, value in found.items() if name not in NOT_OPTIONS}


def _option(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")

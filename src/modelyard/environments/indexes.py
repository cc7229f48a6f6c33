"""Where packages come from: pip's and uv's configured indexes, folders of wheels and certificates, made uv's own.

Everything travels in uv's environment variables and never on a command line, since an index URL may hold a
password. Local indexes and folders that don't exist are left out, as pip only warns of them. Versions are taken
from all indexes together (`unsafe-best-match`), which is what pip does.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelyard.environments.pip_settings import read_pip_settings

#: Variables that reach uv as they are.
PASSED = (
    "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_EXCLUDE_NEWER", "UV_PRERELEASE", "UV_INDEX_STRATEGY",
    "UV_CONCURRENT_DOWNLOADS", "UV_OFFLINE", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
)  # fmt: skip
#: `UV_INDEX_<NAME>_USERNAME` and its like: the credentials of a named index.
CREDENTIALS = re.compile(r"UV_INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD)")
#: Pages of a local index that are read to learn where its files lie.
PAGES_READ = 50


@dataclass(frozen=True, slots=True)
class Indexes:
    """The sources of packages, ready for uv."""

    variables: Mapping[str, str]
    #: What has no variable.
    flags: tuple[str, ...]
    #: Local folders and files that uv must be able to read: indexes, folders of wheels, certificates.
    readable: tuple[Path, ...]
    #: Whether any source lies across the network.
    remote: bool


def find_indexes(environ: Mapping[str, str]) -> Indexes:
    """The sources that this machine's pip and uv are configured with."""
    pip = read_pip_settings(environ)
    variables = {name: environ[name] for name in environ if name in PASSED or CREDENTIALS.fullmatch(name)}
    variables.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    main = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or pip.get("index-url") or pip.get("pypi-url")
    extra = _words(environ.get("UV_INDEX"), environ.get("UV_EXTRA_INDEX_URL"), pip.get("extra-index-url"))
    links = _words((environ.get("UV_FIND_LINKS") or "").replace(",", " "), pip.get("find-links"))
    extra, links = [url for url in extra if _is_there(url)], [url for url in links if _is_there(url)]
    if main:
        variables["UV_DEFAULT_INDEX"] = main
    _set_list(variables, "UV_INDEX", " ", extra)
    _set_list(variables, "UV_FIND_LINKS", ",", links)
    _set_list(variables, "UV_INSECURE_HOST", ",", _words(environ.get("UV_INSECURE_HOST"), pip.get("trusted-host")))
    _set_transport(variables, pip)
    folders_only = _is_on(pip, "no-index")
    used = links if folders_only else [*([main] if main else []), *extra, *links]
    # Without a main index uv asks its own, across the network.
    remote = (not main and not folders_only) or any(local_path(url) is None for url in used)
    return Indexes(variables, ("--no-index",) if folders_only else (), tuple(_readable(used, variables)), remote)


def local_path(location: str) -> Path | None:
    """The folder or file that a location names on this machine; None for one across the network."""
    url = location.partition("=")[2] if re.match(r"[\w.-]+=", location) else location
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme in ("http", "https") else Path(url).expanduser().absolute()


def _set_transport(variables: dict[str, str], pip: Mapping[str, str]) -> None:
    for option, name in (("cert", "SSL_CERT_FILE"), ("client-cert", "SSL_CLIENT_CERT"), ("proxy", "ALL_PROXY")):
        if pip.get(option):
            variables[name] = pip[option]
    if pip.get("timeout"):
        variables.setdefault("UV_HTTP_TIMEOUT", pip["timeout"])
    if _is_on(pip, "pre"):
        variables.setdefault("UV_PRERELEASE", "allow")


def _readable(locations: Iterable[str], variables: Mapping[str, str]) -> Iterator[Path]:
    for location in locations:
        folder = local_path(location)
        if folder is not None:
            yield folder
            yield from _linked_folders(folder)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT"):
        if name in variables and Path(variables[name]).exists():
            yield Path(variables[name]).absolute()


def _linked_folders(index: Path) -> Iterator[Path]:
    """Folders beside a local index that its pages link to (`../../files/x.whl`); never the parent as a whole."""
    found = set()
    for page in sorted(index.glob("*/index.html"))[:PAGES_READ]:
        for link in re.findall(r"""href=["']([^"'#?]+)""", page.read_text(errors="replace")):
            target = local_path(link) if ":" in link else (page.parent / unquote(link)).resolve()
            parts = _below(target, index.parent.resolve())
            if len(parts) > 1:
                found.add(index.parent.resolve() / parts[0])
    yield from sorted(found - {index.resolve()})


def _below(target: Path | None, folder: Path) -> tuple[str, ...]:
    return target.relative_to(folder).parts if target is not None and target.is_relative_to(folder) else ()


def _is_there(location: str) -> bool:
    folder = local_path(location)
    return folder is None or folder.exists()


def _words(*texts: str | None) -> list[str]:
    return list(dict.fromkeys(word for text in texts if text for word in text.split()))


def _is_on(pip: Mapping[str, str], option: str) -> bool:
    return pip.get(option, "").lower() in ("1", "true", "yes", "on", "y", "t")


def _set_list(variables: dict[str, str], name: str, separator: str, values: list[str]) -> None:
    if values:
        variables[name] = separator.join(values)

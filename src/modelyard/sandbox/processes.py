"""The processes of guests seen from outside, through /proc: who descends from whom, what each uses, who was left."""

import os
import signal
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> list[int]:
    """`pid` and all below it, from one pass over /proc."""
    return list(family(pid))


def family(pid: int) -> dict[int, int]:
    """`pid` and all below it with the parent of each, parents first, from one pass over /proc."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            below.setdefault(int(fields[1]), []).append(int(entry.name))
    found, pending = {}, [(pid, 0)]
    while pending:
        current, parent = pending.pop()
        found[current] = parent
        pending += [(child, current) for child in below.get(current, ())]
    return found


def memory_bytes(pid: int) -> int:
    """Memory that the process holds: its proportional share, or all that is resident where that is not told."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def cpu_s(pid: int) -> float:
    """CPU seconds of the process and of its children that have ended."""
    fields = _stat(pid)
    return sum(int(field) for field in fields[11:15]) / _TICKS if fields else 0.0


def threads(pid: int) -> int:
    """Threads of the process."""
    fields = _stat(pid)
    return int(fields[17]) if fields else 0


def end_orphans(folder: Path, program: str = "bwrap") -> int:
    """Kills what `program` still runs for a scratch folder whose owner is dead; gives how many processes there were.

    bubblewrap ends its guest with its parent, but not in the moment in which it has made the guest's first process and
    not yet told it to go on: if the parent is killed just then, that one waits for ever.
    """
    ended = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            handle = os.pidfd_open(int(entry.name))
        except OSError:
            continue
        try:  # looked at only now: from here on the number is no other process's
            if (entry / "exe").readlink().name == program and str(folder).encode() in _command(entry):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                ended += 1
        except OSError:
            continue
        finally:
            os.close(handle)
    return ended


def _command(process: Path) -> bytes:
    return (process / "cmdline").read_bytes()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []

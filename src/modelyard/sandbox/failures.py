"""How a guest can fail, said for the user whose code it was, and how a sandbox can be missing, said for the operator.

A failure of user code is data (`GuestError`), never an exception of ours; only a sandbox that can't be had raises.
"""

import signal
from dataclasses import dataclass
from enum import StrEnum

from modelyard.sandbox.limits import Limits


class FailureKind(StrEnum):
    """Why a call of a guest gave no result."""

    #: The user's code raised.
    EXCEPTION = "exception"
    #: What the function returned can't be stored.
    UNPICKLABLE = "unpicklable"
    #: More memory than the limit.
    MEMORY = "memory"
    #: More wall-clock time than the limit.
    TIMEOUT = "timeout"
    #: More bytes in the working directory than the limit.
    SCRATCH = "scratch"
    #: The process ended by itself (`sys.exit`, `os._exit`) before its result was there.
    EXIT = "exit"
    #: The process was ended by a signal, as a segmentation fault does.
    SIGNAL = "signal"
    #: Someone asked to stop.
    CANCELLED = "cancelled"
    #: The guest spoke nonsense on its connection to the platform.
    PROTOCOL = "protocol"


@dataclass(frozen=True, slots=True)
class GuestError:
    """A failed call: `value` is a whole sentence for the user; `traceback` holds the user's own frames, or nothing."""

    kind: str
    type: str
    value: str
    traceback: str = ""

    @property
    def sentence(self) -> str:
        """One line: what happened."""
        return self.value if self.kind != FailureKind.EXCEPTION else f"{self.type}: {self.value}".rstrip(": ")

    @property
    def was_killed(self) -> bool:
        """True where somebody else ended it, mostly a machine whose memory ran out: worth another attempt."""
        return self.kind == FailureKind.SIGNAL and self.type == signal.Signals.SIGKILL.name


class SandboxUnavailable(Exception):
    """User code can't be walled in on this machine, and the settings do not allow to run it without walls."""


class GuestNotStarted(Exception):
    """The guest's process ended before it was ready to take a task."""


def memory_error(limits: Limits) -> GuestError:
    """The guest was ended since it used more memory than its limit."""
    return GuestError(
        FailureKind.MEMORY,
        "MemoryLimitExceeded",
        f"The code used more memory than its limit of {limits.memory_gib:g} GiB and was stopped. "
        "Give it more memory, or read fewer rows and columns.",
    )


def timeout_error(timeout_s: float) -> GuestError:
    """The call took longer than its limit."""
    return GuestError(
        FailureKind.TIMEOUT,
        "TimeLimitExceeded",
        f"The code ran longer than its limit of {timeout_s:g} seconds and was stopped.",
    )


def scratch_error(limits: Limits) -> GuestError:
    """The guest filled its working directory."""
    return GuestError(
        FailureKind.SCRATCH,
        "DiskLimitExceeded",
        f"The code wrote more than its limit of {limits.scratch_gib:g} GiB to the working directory and was stopped.",
    )


def processes_error(limits: Limits) -> GuestError:
    """The guest started too many processes where no control group holds it back."""
    return GuestError(
        FailureKind.EXIT,
        "ProcessLimitExceeded",
        f"The code started more than its limit of {limits.processes} processes and threads and was stopped.",
    )


def cancelled_error() -> GuestError:
    """Someone asked to stop."""
    return GuestError(FailureKind.CANCELLED, "Cancelled", "The run was cancelled.")


def protocol_error(what: str) -> GuestError:
    """The guest's connection carried something that is no answer."""
    return GuestError(
        FailureKind.PROTOCOL,
        "ProtocolError",
        f"The code disturbed its connection to the platform ({what}). "
        "File descriptors that it did not open itself are not its to close or to write to.",
    )


def exit_error(status: int) -> GuestError:
    """The process ended by itself or by a signal: `status` as a shell shows it, 128 + number for a signal."""
    number = -status if status < 0 else status - 128
    if number in set(signal.Signals):
        name = signal.Signals(number).name
        more = {
            "SIGKILL": " (as a machine does whose memory runs out)",
            "SIGSEGV": " (a segmentation fault, as compiled code can cause)",
        }.get(name, "")
        return GuestError(FailureKind.SIGNAL, name, f"The process was ended by the signal {name}{more}.")
    return GuestError(
        FailureKind.EXIT, "ProcessExit", f"The process ended by itself with status {status} before there was a result."
    )

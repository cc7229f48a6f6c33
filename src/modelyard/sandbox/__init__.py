"""The sandbox: where user code runs, and the only place where it does.

`host.Sandbox` starts a *guest*: a process of its own behind bubblewrap's walls, with the Python of one environment,
no network, one writable folder and limits on time, memory, processes and disk. Code, tables and results cross the
wall as JSON frames and open files over one Unix socket (`channel`); everything that comes from a guest is treated as
hostile.
`guest/` is what runs inside, with the standard library alone. This room knows nothing of models or feature groups.
"""

from modelyard.sandbox.failures import GuestError, GuestNotStarted, SandboxUnavailable
from modelyard.sandbox.host import Outcome, Sandbox
from modelyard.sandbox.limits import Interpreter, Limits, Usage
from modelyard.sandbox.process import Guest, Reply
from modelyard.sandbox.scratch import ScratchFile

__all__ = [
    "Guest",
    "GuestError",
    "GuestNotStarted",
    "Interpreter",
    "Limits",
    "Outcome",
    "Reply",
    "Sandbox",
    "SandboxUnavailable",
    "ScratchFile",
    "Usage",
]

"""The command line: `modelyard serve`, `agent`, `keys`, `demo`, `doctor`, `openapi`, `version`.

`commands.py` is its table of contents; each command is a plain function in a file of its own, imported when it is
called. `serve` is a small supervisor (`supervisor.py`) over two children, the gateway and the agent, which are modules
that Python starts (`gateway_process.py`, `agent_process.py`). Mistakes of the one who types are one line on stderr and
exit status 1, never a traceback.
"""

from modelyard.cli.commands import main

__all__ = ["main"]

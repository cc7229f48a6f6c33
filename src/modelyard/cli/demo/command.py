"""`modelyard demo`, and what it needs that the server does not."""

import importlib
import os
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from modelyard.cli.demo.server import DemoServer
from modelyard.cli.demo.telling import Compared, Teller
from modelyard.cli.failure import CommandFailed

#: What the demo imports as a client; a server is installed without these.
NEEDED = ("abacusai", "pandas", "pyarrow", "fastavro")
KEEP = "Keep the temporary home, and say where it is."


def demo(*, keep: Annotated[bool, Parameter(negative="", help=KEEP)] = False) -> int:
    """Shows the whole way; exit status 0 if both sides predict the same."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        install = "pip install abacusai==1.4.119 pyarrow fastavro"
        raise CommandFailed(f"the demo is a client, and lacks {', '.join(missing)}; install it: {install}")
    return _run(importlib.import_module("modelyard.cli.demo.journey"), keep=keep)


def _run(client: ModuleType, *, keep: bool) -> int:
    teller, cache = Teller(Console(highlight=False, soft_wrap=True)), cache_folder()
    teller.title(
        "From Python source to predictions: the strength of concrete",
        f"the official client against a server of its own; packages and environments are kept in {cache}",
    )
    server = DemoServer(cache, keep=keep)
    try:
        with teller.step("start a server") as step:
            server.start()
            step.note(server.url)
        compared = client.travel(server.key, server.url, teller)
    except Exception as error:
        raise CommandFailed(f"the demo failed: {type(error).__name__}: {error}\n{server.log_tail()}") from error
    finally:
        server.end()
    return _conclude(teller, compared, server, keep=keep)


def _conclude(teller: Teller, compared: list[Compared], server: DemoServer, *, keep: bool) -> int:
    teller.compare(compared)
    agree = all(each.agrees for each in compared)
    variables = f"MODELYARD_HOME={server.home} MODELYARD_CACHE={cache_folder()}"
    kept = [f"The home is kept: {variables} modelyard serve"] if keep else []
    verdict = "The server predicts what the same functions predict here." if agree else "THE PREDICTIONS DIFFER."
    teller.end(verdict, *kept, "Next: `modelyard serve`, and the first model of the README.")
    return 0 if agree else 1


def cache_folder() -> Path:
    """Where packages and environments stay between two runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard"

"""`modelyard serve`: one machine's whole platform, a gateway and an agent under a supervisor."""

import os
from typing import Annotated

import msgspec
from cyclopts import Parameter

from modelyard import app
from modelyard.cli.address import check_exposure, take_address
from modelyard.cli.home_lock import HomeLock
from modelyard.cli.logs import configure_logs
from modelyard.cli.options import Home, Verbosity, load_settings
from modelyard.cli.supervisor import Supervisor
from modelyard.cli.welcome import greet
from modelyard.settings import Settings

HOST = "Address to listen on. Default: 127.0.0.1, which only this machine can reach."
PORT = "Port to listen on; 0 takes any free one. Default: 8585."
LIFELINE = "End when standard input does: for programs that start a server and must not leave it behind."
EXPOSED = "Allow an address that other machines can reach, without TLS."


def serve(
    *,
    host: Annotated[str | None, Parameter(help=HOST)] = None,
    port: Annotated[int | None, Parameter(help=PORT)] = None,
    home: Home = None,
    until_stdin_ends: Annotated[bool, Parameter(negative="", help=LIFELINE)] = False,
    insecure_bind: Annotated[bool | None, Parameter(negative="", help=EXPOSED)] = None,
    verbosity: Verbosity = Verbosity(),  # noqa: B008 - frozen
) -> int:
    """Runs until it is told to end."""
    settings = load_settings(host=host, port=port, home=home, insecure_bind=insecure_bind)
    configure_logs("serve", verbosity.level)
    check_exposure(settings)
    lock = HomeLock(settings.home)
    with take_address(settings) as listener:
        settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
        lock.say(f"process {os.getpid()}, {settings.base_url}")
        first_key = _open(settings)
        greet(settings, first_key)
        lifeline = 0 if until_stdin_ends else None
        return Supervisor(settings, listener, verbosity.level, lambda: _say_ready(settings.base_url), lifeline).run()


def _open(settings: Settings) -> str | None:
    """Brings the database up to date; the first key, if this is the first start."""
    before = os.umask(0o077)  # the database's files are for this user alone
    try:
        house = app.open_house(settings)
    finally:
        os.umask(before)
    house.database.close()
    return house.first_key


def _say_ready(url: str) -> None:
    print(f"ready at {url} (Ctrl-C ends it)", flush=True)

"""Where the gateway listens: refuses what would put keys and predictions on the network in the clear."""

import errno
import ipaddress
import os
import socket

from modelyard.api.serving import listen
from modelyard.cli.failure import CommandFailed
from modelyard.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Raises for an address that other machines can reach, unless the operator said that this is meant."""
    if is_loopback(settings.host) or settings.insecure_bind:
        return
    raise CommandFailed(
        f"{settings.host} can be reached from other machines, and API keys would cross the network in the clear. "
        "Listen on 127.0.0.1 behind a proxy that speaks TLS (set MODELYARD_PUBLIC_URL to its URL), or, on a network "
        "that you trust, allow it with --insecure-bind"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address. Names other than localhost are not trusted."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def take_address(settings: Settings) -> socket.socket:
    """The listening socket; CommandFailed saying what to do if it can't be had."""
    where = f"port {settings.port} on {settings.host}"
    try:
        return listen(settings.host, settings.port)
    except OverflowError as error:
        raise CommandFailed(
            f"{settings.port} is not a port: give one from 1 to 65535, or 0 for any free one"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"{where} is taken by another program; choose another with --port, or 0 for any free one"
        elif error.errno in (errno.EACCES, errno.EPERM):
            message = f"{where} may not be used by this user; ports from 1024 on are free to all"
        else:
            reason = error.strerror or os.strerror(error.errno or 0)
            message = f"can't listen on {where}: {reason}"
        raise CommandFailed(message) from error


def probe_host(host: str) -> str:
    """Where this machine itself reaches a gateway that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound

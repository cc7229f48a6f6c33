"""The reference for predictions: uvicorn with uvloop and httptools, Starlette, one route that answers a constant.

`python -m benchmarks.bare` listens on a free port, prints it and serves until its standard input ends.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def _constant(_: Request) -> JSONResponse:
    return JSONResponse({"success": True, "result": 1.5})


@contextmanager
def bare_server() -> Iterator[str]:
    """The URL of a bare endpoint in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/predict"
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def main() -> None:
    """Serves until standard input ends."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    application = Starlette(routes=[Route("/predict", _constant, methods=["POST"])])
    config = uvicorn.Config(application, loop="uvloop", http="httptools", ws="none", lifespan="off", access_log=False,
                            log_level="warning")  # fmt: skip
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()

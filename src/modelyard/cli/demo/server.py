"""A server for the demo alone: free port, temporary home, ended with the demo however that ends."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from modelyard.accounts.first_run import KEY_FILE
from modelyard.cli.failure import CommandFailed

START_S = 60.0
STOP_S = 45.0
_READY = re.compile(r"ready at (\S+)")


class DemoServer:
    """Ready after `start`, gone after `end`. Its cache of packages and environments stays for the next time."""

    def __init__(self, cache: Path, *, keep: bool) -> None:
        # A short path whatever TMPDIR says: the names of Unix sockets below it may have 107 bytes.
        folder = tempfile.gettempdir() if len(tempfile.gettempdir()) < 30 else "/tmp"  # noqa: S108 - mkdtemp's own
        self.home = Path(tempfile.mkdtemp(prefix="modelyard-", dir=folder))
        self.url = ""
        self._cache, self._keep = cache, keep
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it is ready; CommandFailed if it does not come up."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
        variables = inherited | {"MODELYARD_HOME": str(self.home), "MODELYARD_CACHE": str(self._cache)}
        for name in ("MODELYARD_SANDBOX", "MODELYARD_WHEELS_ONLY"):  # what an operator may need to run anything here
            variables |= {name: os.environ[name]} if name in os.environ else {}
        command = [sys.executable, "-P", "-m", "modelyard", "serve", "--port", "0", "--until-stdin-ends"]
        with self._out.open("wb") as out, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=variables, stdin=subprocess.PIPE, stdout=out, stderr=log, start_new_session=True
            )
        self._wait()

    @property
    def key(self) -> str:
        """The key that the first start made."""
        return (self.home / KEY_FILE).read_text().strip()

    def log_tail(self, lines: int = 15) -> str:
        """The end of the server's log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def end(self) -> None:
        """Ends it and removes its home; may be called before it was started."""
        process = self._process
        if process is not None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            finally:
                assert process.stdin is not None
                process.stdin.close()
        if not self._keep:
            shutil.rmtree(self.home, ignore_errors=True)

    @property
    def _out(self) -> Path:
        return self.home / "serve.out"

    @property
    def _log(self) -> Path:
        return self.home / "serve.log"

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while not (found := _READY.search(self._out.read_text(errors="replace"))):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CommandFailed(f"the server did not start:\n{self.log_tail()}")
            time.sleep(0.05)
        self.url = found[1]

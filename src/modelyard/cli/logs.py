"""Readable logs on stderr: one line an entry, with the moment, the process and the level."""

import logging
import re
import sys

#: Libraries that tell too much at INFO.
QUIET = ("alembic", "sqlalchemy", "uvicorn", "asyncio")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine(logging.Formatter):
    """Escapes what a caller could use to forge a line; only tracebacks have further lines."""

    _second: tuple[int, str] = (0, "")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the standard library's name
        second = int(record.created)
        if self._second[0] != second:  # busy servers log thousands of lines a second
            self._second = (second, super().formatTime(record, datefmt))
        return self._second[1]

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        record.message = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), record.message)
        return super().formatMessage(record)


def configure_logs(process: str, level: str) -> None:
    """Has this process log to stderr under its name."""
    # Not shown, so not looked up for each line either.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - documented: no search for the caller's line
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(f"%(asctime)s.%(msecs)03d {process:<7} %(levelname)-7s %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.INFO if level == "DEBUG" else logging.WARNING)

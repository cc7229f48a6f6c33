"""`python -m benchmarks [name ...]`: runs the benchmarks, all of them without a name, and prints one table."""

import argparse
import importlib
import platform
import sys
import time
from datetime import UTC, datetime

from benchmarks.measure import Options, Row, as_markdown, load

NAMES = (
    "predict", "update", "start", "table", "imports", "environment", "queries", "listing", "models", "online",
    "downloads", "trainings", "peers", "idle", "deployments", "batch", "batching", "observing",
)  # fmt: skip


def main() -> int:
    """Exit status 1 if a benchmark could not run; a missed budget is a row, not a failure."""
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(NAMES)}; all without one")
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="repetitions of each measurement")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="seconds of load in each repetition")
    parser.add_argument("--rows", type=int, default=usual.rows, help="rows of the large table")
    parser.add_argument("--megabytes", type=int, default=usual.megabytes, help="size of the file that is imported")
    parser.add_argument("--trainings", type=int, default=usual.trainings, help="trainings that are begun at once")
    parser.add_argument("--batch-rows", type=int, default=usual.batch_rows, help="rows of the table that is predicted")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    sizes = given.rows, given.megabytes, given.trainings, given.batch_rows
    options = Options(given.rounds, given.seconds, *sizes)
    return _run_all(given.names or list(NAMES), options)


def _run_all(names: list[str], options: Options) -> int:
    began, rows, failed = time.monotonic(), list[Row](), list[str]()
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {load()} at the start\n")
    for name in names:
        print(f"{name} ...", flush=True)
        start = time.monotonic()
        try:
            rows += importlib.import_module(f"benchmarks.{name}").run(options)
        except Exception as error:  # noqa: BLE001 - the other benchmarks shall run all the same
            print(f"  {name} could not run: {type(error).__name__}: {error}", file=sys.stderr)
            failed.append(name)
        print(f"  took {time.monotonic() - start:.0f} s, {load()}", flush=True)
    print(f"\n{as_markdown(rows)}\n\nin {time.monotonic() - began:.0f} s; medians of {options.rounds}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

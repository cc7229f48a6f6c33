"""Kinds of runs for the tests of execution: each writes what it did into the runs' own logs or a file."""

import time
from pathlib import Path

from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.execution import Permanent, Retry, RunContext, RunKind


def say(run: RunContext) -> None:
    """Prints what it was told."""
    run.log("stdout", str(run.payload["text"]))


def fail(run: RunContext) -> None:
    """Can never be done."""
    raise Permanent(str(run.payload["why"]))


def stumble(run: RunContext) -> None:
    """Can't be done now, for the first so many attempts."""
    if run.attempt <= int(run.payload["times"]):
        raise Retry("not yet", after_s=0.01)


def wait(run: RunContext) -> None:
    """Can't be done before its folder says `go`; nobody is to blame for that."""
    folder = Path(str(run.payload["folder"]))
    if not (folder / "go").exists():
        with (folder / "waited").open("a") as out:
            out.write(f"{run.attempt}\n")
        raise Retry("not yet", after_s=0.01, counted=False)


def crash(run: RunContext) -> None:
    """Raises what nobody expected."""
    raise ZeroDivisionError(run.run_id)


def linger(run: RunContext) -> None:
    """Runs until cancelled, or until its file says `go`; counts its ends in that file, within the run's transaction."""
    folder = Path(str(run.payload["folder"]))
    (folder / f"began-{run.attempt}").touch()
    while not (folder / "go").exists():
        run.check_cancelled()
        time.sleep(0.01)
    with run.transaction() as session:
        run.complete(session)
        with (folder / "ends").open("a") as out:
            out.write(f"{run.attempt}\n")


def note_given_up(_: Session, payload: JsonObject, reason: str) -> None:
    """Writes down that the run was given up, where its payload names a folder."""
    if "folder" in payload:
        with (Path(str(payload["folder"])) / "given-up").open("a") as out:
            out.write(reason + "\n")


KINDS = {
    kind.name: kind
    for kind in (
        RunKind("say", say, note_given_up),
        RunKind("fail", fail, note_given_up),
        RunKind("stumble", stumble, note_given_up),
        RunKind("wait", wait, note_given_up),
        RunKind("crash", crash, note_given_up),
        RunKind("linger", linger, note_given_up),
        RunKind("serve", linger, note_given_up, long_lived=True),
    )
}

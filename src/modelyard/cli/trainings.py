"""`modelyard logs` and `modelyard cancel`: what a training prints, as it prints it, and its end before its time.

For who has the home and so needs no key. Others ask `followTrainingLogs` and `cancelTraining`.
"""

import json
import sys
import time
from typing import Annotated

from cyclopts import Parameter

from modelyard.cli.failure import CommandFailed
from modelyard.cli.opening import opened_house
from modelyard.cli.options import Home
from modelyard.clock import utc_now
from modelyard.execution import cancel as cancel_run
from modelyard.ids import ModelVersionId
from modelyard.models.records import ENDED, ModelVersion
from modelyard.models.trainings import followed_logs

Which = Annotated[str, Parameter(help="The id of a model's version.")]
#: Seconds between two looks at a log.
POLL_S = 0.3


def logs(
    model_version: Which,
    *,
    follow: Annotated[
        bool, Parameter(name=["--follow", "-f"], negative="", help="Go on until the training has ended.")
    ] = False,
    metrics: Annotated[
        bool, Parameter(negative="", help="Print the steps of metrics.jsonl as well, on stderr, as they are written.")
    ] = False,
    home: Home = None,
) -> int:
    """Print what a training has printed. The exit status is 1 if it failed."""
    after, after_step, told = 0, 0 if metrics else None, None
    with opened_house(home) as house:
        while True:
            with house.database.read() as session:
                version = session.get(ModelVersion, ModelVersionId(model_version))
                if version is None:
                    raise CommandFailed(f"there is no model version {model_version}")
                found = followed_logs(session, version, after, utc_now(), after_step)
            for line in found.lines:
                print(line.text, end="", file=sys.stderr if line.stream == "stderr" else sys.stdout, flush=True)
            for step in found.steps:
                print(
                    " ".join(["metrics:", *(f"{name}={_shown(value)}" for name, value in step.items())]),
                    file=sys.stderr,
                )
            after, after_step = found.next, found.next_step
            is_new = bool(found.lines or found.steps)
            if found.waiting_for != told and found.waiting_for is not None:
                print(f"it waits for {found.waiting_for}", file=sys.stderr, flush=True)
            told = found.waiting_for
            if found.ended and not is_new:
                if found.error:
                    print(f"{found.status}: {found.error}", file=sys.stderr)
                return 1 if found.error else 0
            if not follow and not is_new:
                return 0
            if not is_new:
                time.sleep(POLL_S)


def cancel(model_version: Which, *, home: Home = None) -> None:
    """End a training that waits or goes on. Its version becomes FAILED within seconds."""
    with opened_house(home) as house, house.database.write() as session:
        version = session.get(ModelVersion, ModelVersionId(model_version))
        if version is None:
            raise CommandFailed(f"there is no model version {model_version}")
        if version.status in ENDED:
            raise CommandFailed(f"version {model_version} has ended as {version.status}; there is nothing to cancel")
        cancel_run(session, version.run_id)


def _shown(value: str | float | bool) -> str:
    """A value on a line of its own making: text as JSON has it, so that it can't forge one."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)

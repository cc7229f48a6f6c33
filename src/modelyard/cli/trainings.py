"""`modelyard logs` and `modelyard cancel`: what a training prints, as it prints it, and its end before its time.

For who has the home and so needs no key. Others ask `followTrainingLogs` and `cancelTraining`.
"""

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
    home: Home = None,
) -> int:
    """Print what a training has printed. The exit status is 1 if it failed."""
    after, told = 0, None
    with opened_house(home) as house:
        while True:
            with house.database.read() as session:
                version = session.get(ModelVersion, ModelVersionId(model_version))
                if version is None:
                    raise CommandFailed(f"there is no model version {model_version}")
                found = followed_logs(session, version, after, utc_now())
            for line in found.lines:
                print(line.text, end="", file=sys.stderr if line.stream == "stderr" else sys.stdout, flush=True)
            after = found.next
            if found.waiting_for != told and found.waiting_for is not None:
                print(f"it waits for {found.waiting_for}", file=sys.stderr, flush=True)
            told = found.waiting_for
            if found.ended and not found.lines:
                if found.error:
                    print(f"{found.status}: {found.error}", file=sys.stderr)
                return 1 if found.error else 0
            if not follow and not found.lines:
                return 0
            if not found.lines:
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

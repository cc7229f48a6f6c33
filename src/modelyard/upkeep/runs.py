"""What an agent may be asked to do here: remove an environment from its disk, or build it anew from its lock."""

from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.environments import EnvironmentFailure, Environments
from modelyard.execution import Permanent, RunContext, RunKind

PURGE = "upkeep.purge_environment"
REBUILD = "upkeep.rebuild_environment"


def purge(run: RunContext) -> None:
    """Removes the environment; Permanent where a guest is using it."""
    try:
        run.parts.get(Environments).purge(str(run.payload["environmentId"]))
    except EnvironmentFailure as error:
        raise Permanent(str(error)) from error


def rebuild(run: RunContext) -> None:
    """Removes the environment and builds it again from the very lock that it had."""
    environments = run.parts.get(Environments)
    try:
        environments.purge(str(run.payload["environmentId"]))
        environments.ensure((), lock=str(run.payload["lock"]), cancelled=run.cancelled)
    except EnvironmentFailure as error:
        raise Permanent(str(error)) from error


def _nothing(_session: Session, _payload: JsonObject, _reason: str) -> None:
    """Nobody but the caller waits for it, and is told by the run's own row."""


KINDS: tuple[RunKind, ...] = (RunKind(PURGE, purge, _nothing), RunKind(REBUILD, rebuild, _nothing))

"""What an agent may be asked to do for deployments: serve one version, for as long as it is wanted."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from modelyard.database import JsonValue
from modelyard.deployments import progress
from modelyard.deployments.replicas.serving import Serving
from modelyard.deployments.servings import SERVE
from modelyard.execution import RunContext, RunKind
from modelyard.ids import DeploymentId, ServingId


def serve(run: RunContext) -> None:
    """Keeps the replicas of one version alive until the run's end is asked for."""
    Serving(run).serve()


def give_up_serving(session: Session, payload: Mapping[str, JsonValue], reason: str) -> None:
    """A serving was cancelled, which its deployment knows already, or the platform could not do it."""
    progress.fail(session, DeploymentId(payload["deploymentId"]), ServingId(payload["servingId"]), reason)


KINDS: tuple[RunKind, ...] = (RunKind(SERVE, serve, give_up_serving, long_lived=True),)

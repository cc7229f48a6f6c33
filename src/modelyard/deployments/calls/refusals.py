"""Why a call is not answered: its deployment takes none, or its replica was lost; and how a replica is condemned."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from modelyard.deployments.calls.routes import Route
from modelyard.deployments.changes import note_change
from modelyard.deployments.records import DeploymentStatus, Replica, ReplicaState
from modelyard.errors import NotReadyError, PredictionError
from modelyard.ids import DeploymentId, ReplicaId


def condemn(session: Session, replica_id: ReplicaId) -> None:
    """Asks the agent to replace a replica."""
    mine = (Replica.replica_id == replica_id, Replica.state == ReplicaState.READY)
    condemned = update(Replica).where(*mine).values(state=ReplicaState.CONDEMNED)
    for deployment_id in session.scalars(condemned.returning(Replica.deployment_id)).all():
        note_change(session, deployment_id)


def not_ready(route: Route) -> NotReadyError:
    """Why a deployment takes no calls."""
    why = f": {route.error}" if route.status == DeploymentStatus.FAILED and route.error else ""
    hint = "; start it with startDeployment" if route.status == DeploymentStatus.STOPPED else ""
    return NotReadyError(f"Deployment {DeploymentId(route.deployment_id)} is {route.status}{why}{hint}")


def lost_error(unfinished: int) -> PredictionError:
    """What the callers of calls are told that a replica was working on when it ended."""
    if unfinished > 1:
        return PredictionError(
            f"The model's process ended while it worked on {unfinished} calls, this one among them; send it again"
        )
    return PredictionError("The model's process ended while it worked on this call (out of memory, a crash or an exit)")

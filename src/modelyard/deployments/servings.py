"""Has an agent serve a version for a deployment, or end it: a run goes on the table, or its end is asked for."""

from sqlalchemy.orm import Session

from modelyard.deployments.records import Deployment, Version
from modelyard.execution import Demand, cancel, enqueue
from modelyard.execution.queue import find_run
from modelyard.ids import ServingId, new_id

#: Name of the run, bound in `runs.KINDS`.
SERVE = "deployments.serve"
#: What idle replicas take. To reserve their limits would keep trainings waiting for as long as anything is deployed.
SERVING_DEMAND = Demand(cores=0.0, memory_gib=0.25)


def begin_serving(session: Session, deployment: Deployment, version: Version) -> ServingId:
    """Puts a serve run of that version on the table and gives the id of the serving."""
    serving_id = ServingId(new_id())
    enqueue(
        session,
        SERVE,
        {"deploymentId": deployment.deployment_id, "version": version, "servingId": serving_id},
        target=serving_id,
        organization_id=deployment.organization_id,
        project_id=deployment.project_id,
        demand=SERVING_DEMAND,
        priority=10,
    )
    return serving_id


def end_serving(session: Session, serving_id: ServingId | None) -> None:
    """Asks for the end of a serving's run."""
    run = find_run(session, serving_id, SERVE) if serving_id is not None else None
    if run is not None:
        cancel(session, run.run_id)

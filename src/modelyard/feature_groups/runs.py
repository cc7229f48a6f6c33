"""What an agent may be asked to do here: make a version, run a query once, make a table's Avro form."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.execution import RunContext, RunKind
from modelyard.execution.queue import find_run
from modelyard.feature_groups import versions
from modelyard.feature_groups.downloads import ENCODE, encode, give_up_encoding
from modelyard.feature_groups.materialize import make_version
from modelyard.feature_groups.operations import QUERY, execute, give_up_query
from modelyard.feature_groups.records import UNFINISHED, FeatureGroupVersion
from modelyard.feature_groups.requests import MATERIALIZE
from modelyard.ids import FeatureGroupVersionId


def materialize(run: RunContext) -> None:
    """Makes the version that was asked for, and what it needs."""
    make_version(run, FeatureGroupVersionId(run.payload["featureGroupVersion"]))


def give_up_materialization(session: Session, payload: JsonObject, reason: str) -> None:
    """Ends the version, and whatever else the run was making, as FAILED; what another run took over is left alone."""
    run = find_run(session, payload["featureGroupVersion"], MATERIALIZE)
    if run is None:
        return
    rows = select(FeatureGroupVersion).where(
        FeatureGroupVersion.run_id == run.run_id, FeatureGroupVersion.status.in_(UNFINISHED)
    )
    for version in session.scalars(rows).all():
        versions.fail(version, reason)


KINDS: tuple[RunKind, ...] = (
    RunKind(MATERIALIZE, materialize, give_up_materialization),
    RunKind(QUERY, execute, give_up_query),
    RunKind(ENCODE, encode, give_up_encoding),
)

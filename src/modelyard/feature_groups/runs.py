"""What an agent may be asked to do here: make a version, run a query once, make a table's Avro form, export."""

from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.execution import RunContext, RunKind
from modelyard.feature_groups.downloads import ENCODE, encode, give_up_encoding
from modelyard.feature_groups.exports.exporting import EXPORT, export, give_up_export
from modelyard.feature_groups.materialize import make_version
from modelyard.feature_groups.queries.operations import QUERY, execute, give_up_query
from modelyard.feature_groups.requests import MATERIALIZE
from modelyard.ids import FeatureGroupVersionId


def materialize(run: RunContext) -> None:
    """Makes the version that was asked for, and what it needs."""
    make_version(run, FeatureGroupVersionId(run.payload["featureGroupVersion"]))


def give_up_materialization(_session: Session, _payload: JsonObject, _reason: str) -> None:
    """Nothing: `versions.give_up` hears of every run that is given up, and ends all versions that it was making."""


KINDS: tuple[RunKind, ...] = (
    RunKind(MATERIALIZE, materialize, give_up_materialization),
    RunKind(QUERY, execute, give_up_query),
    RunKind(ENCODE, encode, give_up_encoding),
    RunKind(EXPORT, export, give_up_export),
)

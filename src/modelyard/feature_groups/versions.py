"""How a version's row comes to be and ends; every change of a version's status is made here.

A row is claimed for a run under a lock, so of two runs that need the same version one makes it and the other waits.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.database import JsonObject
from modelyard.execution import RunContext, RunState
from modelyard.execution.records import Run
from modelyard.feature_groups.exports import exporting as exports
from modelyard.feature_groups.functions.code import Code
from modelyard.feature_groups.lineage import note_version_users
from modelyard.feature_groups.online.groups import is_written_since
from modelyard.feature_groups.pruning import prune
from modelyard.feature_groups.records import (
    TRANSITIONS,
    UNFINISHED,
    FeatureGroup,
    FeatureGroupVersion,
    VersionStatus,
)
from modelyard.feature_groups.tables import newest_versions
from modelyard.ids import DatasetVersionId, FeatureGroupId, FeatureGroupVersionId, RunId, new_id
from modelyard.source_code.pins import Pins
from modelyard.storage import Table

Parents = Mapping[FeatureGroupId, FeatureGroupVersionId]


def add_version(session: Session, group: FeatureGroup) -> FeatureGroupVersion:
    """A PENDING version of what the group is made from now, with the next number."""
    session.refresh(group, with_for_update=True)
    code = Code(session, [group])
    group.last_version_number += 1
    version = FeatureGroupVersion(
        feature_group_version=FeatureGroupVersionId(new_id()),
        feature_group_id=group.feature_group_id,
        organization_id=group.organization_id,
        number=group.last_version_number,
        status=VersionStatus.PENDING,
        definition=to_json(code.resolve(group)),
        definition_digest=group.definition_digest,
        pins=code.pins(group).as_json,
        dataset_version=group.made_from.dataset_version,
        cpu_size=group.cpu_size,
        memory_gib=group.memory_gib,
        use_gpu=group.use_gpu,
        created_at=utc_now(),
    )
    session.add(version)
    session.flush()
    prune(session, group)
    return version


def write_version_from_table(
    session: Session, group: FeatureGroup, table: Table, *, dataset_version: DatasetVersionId | None = None
) -> FeatureGroupVersion:
    """A version that is COMPLETE at once with a table that is there already: a dataset's, a batch prediction's."""
    version = add_version(session, group)
    version.dataset_version = dataset_version or version.dataset_version
    version.parents = {}
    version.started_at = version.created_at
    complete(version, table)
    session.flush()
    return version


def find_current(session: Session, group: FeatureGroup, parents: Parents) -> FeatureGroupVersion | None:
    """The newest complete version, if it is what materialising from those parents would give."""
    found = newest_versions(session, [group.feature_group_id], VersionStatus.COMPLETE).get(group.feature_group_id)
    if found is not None and is_written_since(session, group, found):
        return None
    if found is None or found.definition_digest != group.definition_digest or (found.parents or {}) != dict(parents):
        return None
    return found if Pins.of(found.pins) == Code(session, [group]).pins(group) else None


def find_unfinished(session: Session, group: FeatureGroup) -> FeatureGroupVersion | None:
    """The oldest version of the group's present definition that is waited for or being made."""
    rows = (
        select(FeatureGroupVersion)
        .where(
            FeatureGroupVersion.feature_group_id == group.feature_group_id,
            FeatureGroupVersion.status.in_(UNFINISHED),
            FeatureGroupVersion.definition_digest == group.definition_digest,
        )
        .order_by(FeatureGroupVersion.number)
    )
    pins = Code(session, [group]).pins(group)
    return next((each for each in session.scalars(rows) if Pins.of(each.pins) == pins), None)


def claim(session: Session, run: RunContext, version: FeatureGroupVersion, parents: Parents) -> bool:
    """Makes `run` the maker of the version; False while another run works on it, or once it has ended.

    A run that was killed or ended has lost its claim: whoever comes next takes the version over.
    """
    session.refresh(version, with_for_update=True)
    if version.status not in UNFINISHED:
        return False
    is_working = version.status == VersionStatus.GENERATING and version.run_id != run.run_id
    if is_working and version.run_id is not None and _is_running(session, version.run_id):
        return False
    _move(version, VersionStatus.GENERATING)
    version.run_id = run.run_id
    version.parents = {str(each): parent for each, parent in parents.items()}
    version.started_at = run.clock()
    session.flush()
    name = session.get_one(FeatureGroup, version.feature_group_id).table_name
    note_version_users(session, parents.values(), "feature group version", version.feature_group_version, name)
    return True


def is_made_by(session: Session, run: RunContext, version: FeatureGroupVersion) -> bool:
    """Whether the version is still this run's to end; locks it."""
    session.refresh(version, with_for_update=True)
    return version.status == VersionStatus.GENERATING and version.run_id == run.run_id


def complete(version: FeatureGroupVersion, table: Table, lock: str | None = None) -> None:
    """Ends the version with its table."""
    _move(version, VersionStatus.COMPLETE)
    version.table = to_json(table)
    version.lock = lock
    version.completed_at = utc_now()
    exports.version_completed(version)


def fail(
    version: FeatureGroupVersion, error: str, exception: JsonObject | None = None, lock: str | None = None
) -> None:
    """Ends the version with a reason for its users."""
    _move(version, VersionStatus.FAILED)
    version.error = error
    version.exception = exception
    version.lock = lock
    version.completed_at = utc_now()
    exports.version_failed(version)


def give_up(session: Session, run_id: RunId, reason: str) -> None:
    """Ends what a run that was given up had been making, for itself or on the way to something else, as FAILED.

    What another run has taken over bears that run's id by then, and is left alone.
    """
    theirs = (FeatureGroupVersion.run_id == run_id, FeatureGroupVersion.status.in_(UNFINISHED))
    for version in session.scalars(select(FeatureGroupVersion).where(*theirs).with_for_update()).all():
        fail(version, reason)


def to_json(value: msgspec.Struct) -> dict[str, Any]:
    """A struct as a JSON column holds it."""
    return dict(msgspec.to_builtins(value))


def _move(version: FeatureGroupVersion, status: VersionStatus) -> None:
    if status not in TRANSITIONS[VersionStatus(version.status)]:
        raise ValueError(f"a version that is {version.status} can't become {status}")
    version.status = status


def _is_running(session: Session, run_id: RunId) -> bool:
    return session.scalar(select(Run.state).where(Run.run_id == run_id)) == RunState.RUNNING

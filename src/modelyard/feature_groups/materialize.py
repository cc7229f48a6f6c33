"""Materialising: from definitions to versions, ancestors first, each once. Called by runs of this room and those above.

A training run asks `ensure_versions` for the tables that it reads; `feature_groups.materialize` asks for the parents of
the version that it makes. What is up to date is reused. Where another run is at work on the same group, this one waits
for it, so nothing is made twice; a run that waits holds nothing that the other needs.
"""

import contextlib
import os
import time
from collections.abc import Sequence

from sqlalchemy.orm import Session

from modelyard.execution import ClaimLost, Permanent, Retry, RunContext
from modelyard.feature_groups import versions
from modelyard.feature_groups.generating import generate
from modelyard.feature_groups.lineage import ancestors, in_order
from modelyard.feature_groups.outcomes import Failure, TableVersion
from modelyard.feature_groups.records import (
    UNFINISHED,
    FeatureGroup,
    FeatureGroupVersion,
    SourceType,
    VersionStatus,
)
from modelyard.feature_groups.sources import import_state
from modelyard.feature_groups.staleness import is_outdated
from modelyard.feature_groups.tables import newest_version
from modelyard.feature_groups.twins import open_table
from modelyard.feature_groups.versions import Parents, write_version_from_table
from modelyard.ids import FeatureGroupId, FeatureGroupVersionId
from modelyard.storage import Table

__all__ = [
    "MaterializationFailed",
    "TableVersion",
    "ensure_versions",
    "is_outdated",
    "make_version",
    "open_table",
    "write_version_from_table",
]

#: Seconds between two looks at what another run makes.
POLL_S = 0.1
#: Seconds to wait for an import before the run makes room for it, and when it comes again; that costs no attempt.
IMPORT_WAIT_S = 3.0
AGAIN_AFTER_S = 1.0


class MaterializationFailed(Permanent):
    """A table can't be made; the message names the feature group and says why."""


def ensure_versions(
    run: RunContext, feature_group_ids: Sequence[FeatureGroupId], *, latest: bool = True
) -> list[TableVersion]:
    """A complete version of each group, in that order; what is outdated or missing is made first, with its ancestors.

    `latest` False takes the newest complete version as it is, and only makes what has none.
    Raises MaterializationFailed naming the group that could not be made.
    """
    made: dict[FeatureGroupId, TableVersion] = {}
    with run.read() as session:
        wanted = feature_group_ids if latest else _missing(session, feature_group_ids, made)
        order = in_order(ancestors(session, wanted))
    for each in order:
        if each not in made:
            made[each] = _ensure_one(run, each, made)
    return [made[each] for each in feature_group_ids]


def make_version(run: RunContext, feature_group_version: FeatureGroupVersionId) -> None:
    """Makes one version that was asked for by name; a version that has ended by then is left as it is."""
    with run.read() as session:
        version = session.get(FeatureGroupVersion, feature_group_version)
        if version is None or version.status not in UNFINISHED:
            return
        inputs = version.made_from.inputs
        group = session.get_one(FeatureGroup, version.feature_group_id)
        is_import = group.source_type == SourceType.DATASET and version.made_from.engine_sql is None
    if is_import:
        _take_import(run, version)
        return
    try:
        parents = ensure_versions(run, [each.feature_group_id for each in inputs])
    except MaterializationFailed as failed:
        _end_failed(run, version, Failure(str(failed)))
        return
    while not _make(run, version, parents):
        _pause(run)


def _missing(
    session: Session, feature_group_ids: Sequence[FeatureGroupId], made: dict[FeatureGroupId, TableVersion]
) -> list[FeatureGroupId]:
    missing = []
    for each in feature_group_ids:
        group = session.get(FeatureGroup, each)
        version = newest_version(session, group, VersionStatus.COMPLETE) if group else None
        if group is None or version is None:
            missing.append(each)
        else:
            made[each] = _table_version(group, version)
    return missing


def _ensure_one(
    run: RunContext, feature_group_id: FeatureGroupId, made: dict[FeatureGroupId, TableVersion]
) -> TableVersion:
    waited_since = time.monotonic()
    while True:
        with run.transaction() as session:
            group = session.get(FeatureGroup, feature_group_id, with_for_update=True)
            if group is None:
                raise MaterializationFailed(f"A feature group that is read ({feature_group_id}) was deleted")
            inputs = [made[each.feature_group_id] for each in group.made_from.inputs]
            found = _find_made(session, group, inputs)
            version = None if found else _claim_one(session, run, group, inputs)
        if found is not None:
            return _table_version(group, found)
        if version is not None:
            _make_claimed(run, version, inputs, group.table_name)
        else:
            _await_source(run, group, waited_since)


def _find_made(session: Session, group: FeatureGroup, inputs: Sequence[TableVersion]) -> FeatureGroupVersion | None:
    if group.is_given:
        return newest_version(session, group, VersionStatus.COMPLETE)
    return versions.find_current(session, group, _parents(inputs))


def _claim_one(
    session: Session, run: RunContext, group: FeatureGroup, inputs: Sequence[TableVersion]
) -> FeatureGroupVersion | None:
    """A version of the group that is this run's to make; None if another's is to be waited for."""
    if group.is_given:
        return None
    version = versions.find_unfinished(session, group) or versions.add_version(session, group)
    return version if versions.claim(session, run, version, _parents(inputs)) else None


def _await_source(run: RunContext, group: FeatureGroup, waited_since: float) -> None:
    """Waits a little for another run, or for the import that the group's rows come from."""
    if group.source_type == SourceType.BATCH_PREDICTION:
        raise MaterializationFailed(f"Feature group {group.table_name} has no rows: no batch prediction wrote any")
    if group.source_type == SourceType.DATASET and group.is_given:
        with run.read() as session:
            state = import_state(session, group)
        if not state.is_running:
            raise MaterializationFailed(f"Feature group {group.table_name} has no rows: {state.reason}")
        if time.monotonic() - waited_since > IMPORT_WAIT_S:
            raise Retry(f"the dataset of {group.table_name} is still being imported", AGAIN_AFTER_S, counted=False)
    _pause(run)


def _make(run: RunContext, version: FeatureGroupVersion, inputs: Sequence[TableVersion]) -> bool:
    """Makes the version that was asked for; False while another run is at work on it."""
    with run.transaction() as session:
        mine = session.get_one(FeatureGroupVersion, version.feature_group_version)
        name = session.get_one(FeatureGroup, mine.feature_group_id).table_name
        claimed = versions.claim(session, run, mine, _parents(inputs))
        ended = mine.status not in UNFINISHED
    if claimed:
        try:
            table = _make_claimed(run, mine, inputs, name, twin=False)
        except MaterializationFailed:
            return True  # the version says so itself
        with contextlib.suppress(Retry):  # the first reader has it made otherwise
            os.close(open_table(run.parts, run.settings, table))
    return ended or claimed


def _make_claimed(
    run: RunContext, version: FeatureGroupVersion, inputs: Sequence[TableVersion], name: str, *, twin: bool = True
) -> Table:
    """Makes a version that is this run's and ends it; MaterializationFailed where it could not be made.

    The table may have no `twin` yet.
    """
    try:
        outcome = generate(run, version, inputs, name, twin=twin)
    except (ClaimLost, Permanent) as ended:
        # Cancelled, or no sandbox: whoever the run was for hears of it, and so do the readers of this version.
        _end_failed(run, version, Failure(str(ended)))
        raise
    run.logs.flush()
    if isinstance(outcome, Failure):
        _end_failed(run, version, outcome)
        raise MaterializationFailed(f"Feature group {name} could not be materialized: {outcome.error}")
    with run.transaction() as session:
        # The group's lock, as in `_ensure_one`: who looks for a version there must not see it end between two looks.
        session.get(FeatureGroup, version.feature_group_id, with_for_update=True)
        mine = session.get_one(FeatureGroupVersion, version.feature_group_version)
        if versions.is_made_by(session, run, mine):
            versions.complete(mine, outcome.table, outcome.lock)
    return outcome.table


def _end_failed(run: RunContext, version: FeatureGroupVersion, failure: Failure) -> None:
    with run.transaction() as session:
        mine = session.get(FeatureGroupVersion, version.feature_group_version)
        if mine is None:
            return
        session.refresh(mine, with_for_update=True)
        if mine.status == VersionStatus.PENDING or (
            mine.status == VersionStatus.GENERATING and mine.run_id == run.run_id
        ):
            versions.fail(mine, failure.error, failure.exception, failure.lock)


def _take_import(run: RunContext, version: FeatureGroupVersion) -> None:
    """Ends a dataset's version once its import has ended: by the table that came, or by the import's error."""
    waited_since = time.monotonic()
    while True:
        with run.transaction() as session:
            mine = session.get_one(FeatureGroupVersion, version.feature_group_version)
            if mine.status not in UNFINISHED:
                return
            group = session.get_one(FeatureGroup, mine.feature_group_id)
            state = import_state(session, group)
            if state.table is not None:
                mine.dataset_version, mine.parents = state.dataset_version, {}
                versions.complete(mine, state.table)
                return
            if not state.is_running:
                versions.fail(mine, state.reason)
                return
        _await_source(run, group, waited_since)


def _pause(run: RunContext) -> None:
    run.check_cancelled()
    time.sleep(POLL_S)


def _parents(inputs: Sequence[TableVersion]) -> Parents:
    return {each.feature_group_id: each.feature_group_version for each in inputs}


def _table_version(group: FeatureGroup, version: FeatureGroupVersion) -> TableVersion:
    return TableVersion(group.feature_group_id, version.feature_group_version, group.table_name, version.manifest)

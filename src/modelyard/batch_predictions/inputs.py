"""The rows that a version predicts: the newest of a feature group, or what its definitions give over other datasets."""

from collections.abc import Mapping
from typing import NamedTuple

from modelyard.execution import RunContext
from modelyard.feature_groups.materialize import ensure_versions
from modelyard.feature_groups.records import FeatureGroupVersion, VersionStatus
from modelyard.feature_groups.substitution import evaluate
from modelyard.ids import DatasetId, FeatureGroupId, FeatureGroupVersionId
from modelyard.storage import Table


class Rows(NamedTuple):
    """A table, and the version that it is; None for rows that were made for this prediction alone."""

    table: Table
    feature_group_version: FeatureGroupVersionId | None


def find_rows(
    run: RunContext,
    feature_group_id: FeatureGroupId,
    replace: Mapping[DatasetId, DatasetId],
    pinned: FeatureGroupVersionId | None,
) -> Rows:
    """The group's rows, materialised first where they are outdated; those of an earlier attempt, if they are there.

    Raises MaterializationFailed with the reason.
    """
    with run.read() as session:
        found = session.get(FeatureGroupVersion, pinned) if pinned is not None else None
        if found is not None and found.status == VersionStatus.COMPLETE:
            return Rows(found.manifest, found.feature_group_version)
    if replace:
        return Rows(evaluate(run, feature_group_id, replace), None)
    [version] = ensure_versions(run, [feature_group_id])
    return Rows(version.table, version.feature_group_version)

"""Versions of feature groups and datasets: what is in them, what happened to them, how many are kept."""

from sqlalchemy import select

from modelyard.actions import Call, action
from modelyard.datasets import metrics
from modelyard.datasets.columns import CASTABLE
from modelyard.datasets.creating import check_version_limit
from modelyard.datasets.finding import get_dataset
from modelyard.datasets.finding import get_version as get_dataset_version
from modelyard.datasets.metrics import Wanted
from modelyard.datasets.records import VersionStatus as DatasetStatus
from modelyard.datasets.shapes import dataset_shape
from modelyard.datasets.wire import DataMetricsShape, DatasetShape, LogsShape
from modelyard.errors import (
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    NotReadyError,
    PermissionDeniedError,
)
from modelyard.execution import After
from modelyard.feature_groups import pruning
from modelyard.feature_groups.described import check_feature, columns_of
from modelyard.feature_groups.downloads import table_of
from modelyard.feature_groups.lineage import named_users
from modelyard.feature_groups.logs import version_log
from modelyard.feature_groups.modifying import check_modifiable, get_modifiable
from modelyard.feature_groups.records import UNFINISHED, FeatureGroup, FeatureGroupVersion
from modelyard.feature_groups.shapes import group_shape
from modelyard.feature_groups.sources import find_group
from modelyard.feature_groups.tables import get_version
from modelyard.feature_groups.wire import FeatureGroupShape
from modelyard.ids import DatasetId, DatasetVersionId, FeatureGroupId, FeatureGroupVersionId

_LIMIT_ERRORS = (DataNotFoundError, InvalidParameterError, PermissionDeniedError)


@action("GET", errors=(DataNotFoundError, InvalidParameterError, ConflictError, NotReadyError), writes=True)
def get_feature_group_version_metrics(
    call: Call,
    *,
    feature_group_version: FeatureGroupVersionId,
    selected_columns: list[str] | None = None,
    include_charts: bool = False,
    include_statistics: bool = True,
) -> DataMetricsShape | After:
    """What is in the columns of a version: counts, nulls, distinct values, extremes, means, quantiles, top values.

    Counted when it is first asked for, which this waits for. `selectedColumns` come first; `includeCharts` adds
    histograms.
    """
    version = get_version(call.session, call.organization_id, feature_group_version)
    table = table_of(version, f"Feature group version {feature_group_version}")
    wanted = Wanted(columns=selected_columns or (), charts=include_charts, statistics=include_statistics)
    return metrics.describe(call, table, wanted)


@action("GET", errors=(DataNotFoundError,))
def get_feature_group_version_logs(call: Call, *, feature_group_version: FeatureGroupVersionId) -> LogsShape:
    """What happened to a version, with the moment of each event, and what its run printed meanwhile."""
    version = get_version(call.session, call.organization_id, feature_group_version)
    return LogsShape(logs=version_log(call.session, version))


@action("GET", errors=_LIMIT_ERRORS, writes=True)
def update_feature_group_version_limit(
    call: Call, *, feature_group_id: FeatureGroupId, version_limit: int
) -> FeatureGroupShape:
    """Says how many versions of a feature group are kept; the oldest past it go, unless something stands on them."""
    check_version_limit(version_limit)
    group = get_modifiable(call, feature_group_id)
    group.version_limit, group.updated_at = version_limit, call.clock()
    pruning.prune(call.session, group)
    return group_shape(call.session, group)


@action("GET", errors=_LIMIT_ERRORS, writes=True)
def update_dataset_version_limit(call: Call, *, dataset_id: DatasetId, version_limit: int) -> DatasetShape:
    """Says how many versions of a dataset, and of its table, are kept; the oldest past it go."""
    check_version_limit(version_limit)
    dataset = get_dataset(call.session, call.organization_id, dataset_id)
    dataset.version_limit = version_limit
    group = find_group(call.session, dataset_id)
    if group is not None:
        check_modifiable(call.session, call, group)
        group.version_limit = version_limit
        pruning.prune(call.session, group)
    pruning.prune_dataset(call.session, dataset)
    return dataset_shape(call.session, dataset)


@action("POST", errors=(*_LIMIT_ERRORS, InvalidEnumParameterError))
def set_dataset_column_data_type(call: Call, *, dataset_id: DatasetId, column: str, data_type: str) -> DatasetShape:
    """Says what type a column of a dataset has: integer, float, string, boolean, date or datetime.

    It holds for the versions that come from now on. A value that is none of that type fails their import with its row.
    """
    dataset = get_dataset(call.session, call.organization_id, dataset_id)
    group = find_group(call.session, dataset_id)
    if group is not None:
        check_modifiable(call.session, call, group)
    wanted = data_type.upper()
    if wanted not in CASTABLE:
        known = ", ".join(CASTABLE)
        raise InvalidEnumParameterError(f"Invalid value for dataType: {data_type[:100]!r}; it must be one of {known}")
    if group is not None:
        check_feature(columns_of(call.session, group), column, f"Dataset {dataset_id}")
    dataset.column_types = dataset.column_types | {column: wanted}
    return dataset_shape(call.session, dataset)


@action("DELETE", errors=(DataNotFoundError, ConflictError, PermissionDeniedError))
def delete_feature_group_version(call: Call, *, feature_group_version: FeatureGroupVersionId) -> None:
    """Deletes a version that has ended. One that others were made from is refused with their names."""
    version = get_version(call.session, call.organization_id, feature_group_version)
    group = call.session.get_one(FeatureGroup, version.feature_group_id)
    check_modifiable(call.session, call, group)
    if version.status in UNFINISHED:
        raise ConflictError(
            f"Feature group version {feature_group_version} is {version.status}; wait until it has ended"
        )
    if named := named_users(call.session, [feature_group_version]):
        raise ConflictError(f"Feature group version {feature_group_version} is what {named} was made from; it is kept")
    pruning.delete_version(call.session, version)


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def delete_dataset_version(call: Call, *, dataset_version: DatasetVersionId) -> None:
    """Deletes a dataset version that has ended, and the version of its feature group with these rows.

    One that others were made from is refused with their names.
    """
    version = get_dataset_version(call.session, call.organization_id, dataset_version)
    if version.status not in (DatasetStatus.COMPLETE, DatasetStatus.FAILED):
        raise ConflictError(f"Dataset version {dataset_version} is {version.status}; wait until it has ended")
    of_group = select(FeatureGroupVersion).where(FeatureGroupVersion.dataset_version == dataset_version)
    groups_versions = call.session.scalars(of_group).all()
    if named := named_users(call.session, [each.feature_group_version for each in groups_versions]):
        raise ConflictError(f"Dataset version {dataset_version} is what {named} was made from; it is kept")
    for each in groups_versions:
        pruning.delete_version(call.session, each)
    pruning.delete_dataset_version(call.session, version)

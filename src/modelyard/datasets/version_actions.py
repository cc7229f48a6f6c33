"""What happened to a dataset's versions and what is in them: metrics, logs."""

import msgspec

from modelyard.actions import Call, action
from modelyard.datasets import metrics
from modelyard.datasets.finding import get_version
from modelyard.datasets.history import version_log
from modelyard.datasets.metrics import Wanted
from modelyard.datasets.records import VersionStatus
from modelyard.datasets.wire import DataMetricsShape, LogsShape
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError, NotReadyError
from modelyard.execution import After
from modelyard.ids import DatasetVersionId
from modelyard.storage import Table


@action("GET", errors=(DataNotFoundError, InvalidParameterError, ConflictError, NotReadyError), writes=True)
def get_dataset_version_metrics(
    call: Call,
    *,
    dataset_version: DatasetVersionId,
    selected_columns: list[str] | None = None,
    include_charts: bool = False,
    include_statistics: bool = True,
) -> DataMetricsShape | After:
    """What is in the columns of a dataset version: counts, nulls, distinct values, extremes, means, quantiles.

    Counted when it is first asked for, which this waits for. `selectedColumns` come first; `includeCharts` adds
    histograms.
    """
    version = get_version(call.session, call.organization_id, dataset_version)
    if version.status == VersionStatus.FAILED:
        raise ConflictError(f"Dataset version {dataset_version} has no rows, since it failed: {version.error}")
    if version.table is None:
        raise NotReadyError(f"Dataset version {dataset_version} is {version.status}; it has no rows yet")
    wanted = Wanted(columns=selected_columns or (), charts=include_charts, statistics=include_statistics)
    return metrics.describe(call, msgspec.convert(version.table, Table), wanted)


@action("GET", errors=(DataNotFoundError,))
def get_dataset_version_logs(call: Call, *, dataset_version: DatasetVersionId) -> LogsShape:
    """What happened to a dataset version, with the moment of each event, and what its import printed."""
    version = get_version(call.session, call.organization_id, dataset_version)
    return LogsShape(logs=version_log(call.session, version))

"""Streaming datasets: made, snapshotted, told how long to keep their rows. Rows are written through the group."""

from datetime import UTC, datetime

from modelyard.actions import Call, action
from modelyard.datasets.creating import add_snapshot, create_dataset
from modelyard.datasets.finding import get_dataset
from modelyard.datasets.reading import Reading
from modelyard.datasets.records import Dataset
from modelyard.datasets.shapes import dataset_shape, version_shape
from modelyard.datasets.wire import DatasetShape, DatasetVersionShape
from modelyard.errors import AlreadyExistsError, ConflictError, DataNotFoundError, InvalidParameterError
from modelyard.ids import DatasetId, OnlineTableId
from modelyard.online_rows.reading import get_table
from modelyard.online_rows.retention import set_retention
from modelyard.online_rows.tables import DEFAULT_KEY, add_table


@action("POST", errors=(AlreadyExistsError, InvalidParameterError))
def create_streaming_dataset(
    call: Call,
    *,
    table_name: str,
    primary_key: str | None = None,
    update_timestamp_key: str | None = None,
    lookup_keys: list[str] | None = None,
    version_limit: int = 30,
) -> DatasetShape:
    """Creates a dataset whose rows are written one by one, through the online feature group that comes with it.

    Without a `primaryKey`, rows are told apart by `row_id`, which is made for each.
    """
    given = {"updateTimestampKey": update_timestamp_key, "lookupKeys": lookup_keys}
    unfit = [name for name, value in given.items() if value]
    if unfit:
        raise InvalidParameterError(f"Rows online are found by their primary key; leave {' and '.join(unfit)} out")
    table = add_table(call.session, call.clock, call.organization_id, primary_key or DEFAULT_KEY)
    made = create_dataset(call, table_name, Reading(), version_limit, online_table_id=table.online_table_id)
    return dataset_shape(call.session, made)


@action("POST", errors=(DataNotFoundError, ConflictError))
def snapshot_streaming_data(call: Call, *, dataset_id: DatasetId) -> DatasetVersionShape:
    """Makes a version of the rows as they stand; the feature group has it as its newest version then."""
    dataset, _ = _streaming(call, dataset_id)
    return version_shape(add_snapshot(call.session, dataset))


@action("POST", errors=(DataNotFoundError, ConflictError, InvalidParameterError))
def set_streaming_retention_policy(
    call: Call,
    *,
    dataset_id: DatasetId,
    retention_hours: int | None = None,
    retention_row_count: int | None = None,
    ignore_records_before_timestamp: int | None = None,
) -> None:
    """Says how long rows are kept: hours since they were last written, how many of the newest, from which moment on.

    What is left out stays as it is; 0 lifts a limit. The moment is in seconds since 1970. Versions keep what they have.
    """
    _, table_id = _streaming(call, dataset_id)
    moment = None
    if ignore_records_before_timestamp is not None:
        try:
            moment = datetime.fromtimestamp(ignore_records_before_timestamp, UTC)
        except (ValueError, OverflowError, OSError):
            raise InvalidParameterError(
                f"ignoreRecordsBeforeTimestamp is {ignore_records_before_timestamp}; it must be seconds since 1970"
            ) from None
    set_retention(get_table(call.session, table_id), retention_hours, retention_row_count, moment)


def _streaming(call: Call, dataset_id: DatasetId) -> tuple[Dataset, OnlineTableId]:
    dataset = get_dataset(call.session, call.organization_id, dataset_id)
    if dataset.online_table_id is None:
        raise ConflictError(f"Dataset {dataset_id} is not a streaming one; createStreamingDataset makes one")
    return dataset, dataset.online_table_id

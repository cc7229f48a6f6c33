"""Rows of this room as callers see them."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import iso
from modelyard.database import JsonObject
from modelyard.datasets import columns
from modelyard.datasets.finding import newest_versions
from modelyard.datasets.reading import Reading
from modelyard.datasets.records import Dataset, DatasetVersion, SourceType, Upload, UploadPart, VersionStatus
from modelyard.datasets.wire import (
    DatasetColumnShape,
    DatasetShape,
    DatasetVersionShape,
    UploadedPartShape,
    UploadShape,
)
from modelyard.refresh.records import RefreshType
from modelyard.refresh.schedules import schedules_of_all
from modelyard.refresh.wire import RefreshScheduleShape
from modelyard.storage import Table, TableColumn


def dataset_shape(session: Session, dataset: Dataset) -> DatasetShape:
    """The dataset with its newest version and the columns of its newest table."""
    return dataset_shapes(session, [dataset])[0]


def dataset_shapes(session: Session, datasets: Sequence[Dataset]) -> list[DatasetShape]:
    """Datasets as callers see them, with as many queries for a page as for one."""
    ids = [dataset.dataset_id for dataset in datasets]
    newest, whole = newest_versions(session, ids), newest_versions(session, ids, VersionStatus.COMPLETE)
    schedules = schedules_of_all(session, RefreshType.DATASET, ids)
    return [
        _dataset_shape(
            dataset,
            newest.get(dataset.dataset_id),
            whole.get(dataset.dataset_id),
            schedules.get(dataset.dataset_id, []),
        )
        for dataset in datasets
    ]


def _dataset_shape(
    dataset: Dataset,
    newest: DatasetVersion | None,
    whole: DatasetVersion | None,
    schedules: list[RefreshScheduleShape],
) -> DatasetShape:
    reading = msgspec.convert(dataset.reading, Reading)
    config = dataset.database_connector_config or {}
    is_external = dataset.source_type == SourceType.EXTERNAL_SERVICE
    return DatasetShape(
        dataset_id=dataset.dataset_id,
        source_type=dataset.source_type,
        data_source=dataset.data_source,
        created_at=iso(dataset.created_at),
        connector_type=("DATABASE" if config else "FILE") if is_external else None,
        database_connector_id=config.get("databaseConnectorId"),
        database_connector_config=_asked(config),
        feature_group_table_name=dataset.feature_group_table_name,
        merge_file_schemas=reading.merge_schemas,
        version_limit=dataset.version_limit,
        schema=schema_of(whole),
        refresh_schedules=schedules,
        latest_dataset_version=version_shape(newest) if newest is not None else None,
        parsing_config=msgspec.to_builtins(reading.parsing_config) if reading.parsing_config else None,
    )


def version_shape(version: DatasetVersion) -> DatasetVersionShape:
    """One version."""
    return DatasetVersionShape(
        dataset_version=version.dataset_version,
        status=version.status,
        dataset_id=version.dataset_id,
        size=version.size,
        row_count=version.row_count,
        file_inspect_metadata=version.inspected,
        created_at=iso(version.created_at),
        error=version.error,
        upload_id=version.upload_id,
        merge_file_schemas=bool(version.reading.get("merge_schemas")),
        database_connector_config=_asked(version.database_connector_config or {}),
    )


def schema_of(version: DatasetVersion | None) -> list[DatasetColumnShape]:
    """The columns of a version's table; none before there is one."""
    if version is None or version.table is None:
        return []
    table = msgspec.convert(version.table, Table)
    renamed = (version.inspected or {}).get("renamedColumns") or {}
    names = columns.original_names(table.columns, renamed)
    return [_column(column, name) for column, name in zip(table.columns, names, strict=True)]


def upload_shape(session: Session, upload: Upload) -> UploadShape:
    """An upload with the parts that have arrived."""
    query = select(UploadPart).where(UploadPart.upload_id == upload.upload_id).order_by(UploadPart.part_number)
    return _upload(upload, session.scalars(query).all())


def _asked(config: JsonObject) -> JsonObject | None:
    """What was read of a database, without the connector's id, which stands beside it."""
    return {name: value for name, value in config.items() if name != "databaseConnectorId"} or None


def _upload(upload: Upload, parts: Sequence[UploadPart]) -> UploadShape:
    return UploadShape(
        upload_id=upload.upload_id,
        dataset_upload_id=upload.upload_id,
        status=upload.status,
        dataset_id=upload.dataset_id,
        dataset_version=upload.dataset_version,
        model_id=upload.model_id,
        model_version=upload.model_version,
        parts=[
            UploadedPartShape(part_number=part.part_number, etag=part.digest, md5=part.md5, size=part.size)
            for part in parts
        ],
        created_at=iso(upload.created_at),
    )


def _column(column: TableColumn, original_name: str) -> DatasetColumnShape:
    data, feature = columns.data_type(column), columns.feature_type(column)
    return DatasetColumnShape(
        name=column.name,
        data_type=data,
        detected_data_type=data,
        feature_type=feature,
        detected_feature_type=feature,
        original_name=original_name,
        valid_data_types=list(columns.CASTABLE) if data in columns.CASTABLE else [data],
    )

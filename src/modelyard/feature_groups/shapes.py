"""Turns records into the shapes of `wire`: groups and versions, one or many, with as few queries as a page needs."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import iso
from modelyard.database import JsonObject
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.exports.destinations import destination_of
from modelyard.feature_groups.functions.code import Code
from modelyard.feature_groups.records import (
    FeatureGroup,
    FeatureGroupInput,
    FeatureGroupOperation,
    FeatureGroupVersion,
    SourceType,
    VersionStatus,
)
from modelyard.feature_groups.schema import group_features
from modelyard.feature_groups.staleness import find_outdated
from modelyard.feature_groups.tables import newest_versions
from modelyard.feature_groups.wire import (
    CodeShape,
    ConcatenationShape,
    FeatureGroupShape,
    FeatureGroupVersionShape,
    FeatureShape,
    IndexingShape,
    OperationShape,
)
from modelyard.ids import FeatureGroupId
from modelyard.refresh.records import RefreshType
from modelyard.refresh.schedules import schedules_of_all
from modelyard.refresh.wire import RefreshScheduleShape
from modelyard.source_code.pins import Pins

#: What every group shows of features that it does not have.
_WITHOUT: dict[str, Any] = {
    "incremental": False,
    "module_name": None,
    "template_bindings": None,
    "duplicate_features": [],
    "point_in_time_groups": [],
    "annotation_config": {},
    "feature_group_template": {},
    "explanation": {},
    "operator_config": {},
}


class CheckNotes(msgspec.Struct, frozen=True, rename="camel"):
    """What is kept of a source's check."""

    #: As the caller gave them; what the check added is in the message.
    requirements: list[str] = []
    publishing_msg: dict[str, Any] = {}
    module_dependencies: list[str] = []


def group_shape(session: Session, group: FeatureGroup) -> FeatureGroupShape:
    """One group as callers see it."""
    return group_shapes(session, [group])[0]


def group_shapes(session: Session, groups: Sequence[FeatureGroup]) -> list[FeatureGroupShape]:
    """Groups as callers see them."""
    ids = [group.feature_group_id for group in groups]
    newest, whole = newest_versions(session, ids), newest_versions(session, ids, VersionStatus.COMPLETE)
    outdated, readers = find_outdated(session, ids), _readers(session, ids)
    schedules = schedules_of_all(session, RefreshType.FEATUREGROUP, ids)
    code = Code(session, groups)
    return [
        _group_shape(
            group,
            newest.get(group.feature_group_id),
            whole.get(group.feature_group_id),
            code=code,
            is_outdated=group.feature_group_id in outdated,
            readers=readers.get(group.feature_group_id, []),
            schedules=schedules.get(group.feature_group_id, []),
        )
        for group in groups
    ]


def version_shape(
    version: FeatureGroupVersion, group: FeatureGroup, columns: list[FeatureShape] | None = None
) -> FeatureGroupVersionShape:
    """A version as callers see it; `columns` where somebody has made them out already."""
    made_from, columns = version.made_from, _features(version, group) if columns is None else columns
    return FeatureGroupVersionShape(
        feature_group_version=version.feature_group_version,
        feature_group_id=version.feature_group_id,
        sql=made_from.sql,
        source_tables=[each.table_name for each in made_from.inputs],
        source_dataset_versions=[version.dataset_version] if version.dataset_version else [],
        created_at=iso(version.created_at),
        status=version.status,
        error=version.error,
        deployable=version.status == VersionStatus.COMPLETE,
        cpu_size=version.cpu_size,
        memory=version.memory_gib,
        use_original_csv_names=group.use_original_csv_names,
        python_function_bindings=group.python_function_bindings,
        indexing_config_warning_msg=None,
        materialization_started_at=iso(version.started_at),
        materialization_completed_at=iso(version.completed_at),
        columns=columns,
        template_bindings=[],
        features=columns,
        point_in_time_groups=[],
        code_source=_code_shape(made_from, group.check_report, list(Pins.of(version.pins).modules)),
        annotation_config={},
        indexing_config=indexing_of(group),
    )


def operation_shape(operation: FeatureGroupOperation) -> OperationShape:
    """A query as callers see it."""
    return OperationShape(
        feature_group_operation_run_id=operation.feature_group_operation_run_id,
        status=operation.status,
        error=operation.error,
        query=operation.query,
    )


def _group_shape(
    group: FeatureGroup,
    newest: FeatureGroupVersion | None,
    whole: FeatureGroupVersion | None,
    *,
    code: Code,
    is_outdated: bool,
    readers: list[str],
    schedules: list[RefreshScheduleShape],
) -> FeatureGroupShape:
    made_from, index, columns = code.resolve(group), indexing_of(group), _features(whole, group) if whole else []
    return FeatureGroupShape(
        feature_group_id=group.feature_group_id,
        name=group.table_name,
        feature_group_source_type=group.source_type,
        table_name=group.table_name,
        sql=made_from.sql,
        dataset_id=group.dataset_id,
        function_source_code=made_from.source_code,
        function_name=made_from.function_name,
        source_tables=[each.table_name for each in made_from.inputs],
        created_at=iso(group.created_at),
        description=group.description,
        sql_error=newest.error if newest is not None and group.source_type == SourceType.SQL else None,
        latest_version_outdated=is_outdated and _has_tried(newest, whole),
        referenced_feature_groups=readers,
        cpu_size=group.cpu_size,
        memory=group.memory_gib,
        use_original_csv_names=group.use_original_csv_names,
        python_function_bindings=group.python_function_bindings,
        python_function_name=group.python_function_name,
        use_gpu=group.use_gpu,
        version_limit=group.version_limit,
        features=columns,
        code_source=_code_shape(made_from, code.check_report(group), code.dependencies(group)),
        refresh_schedules=schedules,
        latest_feature_group_version=_latest(newest, whole, group, columns),
        modification_lock=group.is_locked,
        tags=group.tags,
        feature_tags=group.feature_tags,
        primary_key=index.primary_key,
        update_timestamp_key=index.update_timestamp_key,
        lookup_keys=index.lookup_keys,
        indexing_config=index,
        feature_expression=made_from.sql if group.source_type == SourceType.DATASET else None,
        concatenation_config=_concatenation(made_from),
        **_of_its_kind(group, made_from),
        **_WITHOUT,
    )


def _of_its_kind(group: FeatureGroup, made_from: Definition) -> dict[str, Any]:
    """What only groups of some kinds have."""
    is_online = group.source_type == SourceType.ONLINE
    return {
        "streaming_enabled": is_online,
        "streaming_ready": is_online,
        "sampling_config": made_from.sampling or None,
        "merge_config": made_from.merge or None,
        **_exporting(group),
    }


def _exporting(group: FeatureGroup) -> dict[str, Any]:
    """Where the group's rows go, and whether they do so by themselves."""
    kept = group.export_destination
    config = destination_of(kept).as_config if kept else {}
    return {"export_connector_config": config, "export_on_materialization": group.export_on_materialization}


def _latest(
    newest: FeatureGroupVersion | None,
    whole: FeatureGroupVersion | None,
    group: FeatureGroup,
    columns: list[FeatureShape],
) -> FeatureGroupVersionShape | None:
    """The newest version; `columns` are those of the newest that is whole, mostly the same one."""
    return None if newest is None else version_shape(newest, group, columns if newest is whole else None)


def _has_tried(newest: FeatureGroupVersion | None, whole: FeatureGroupVersion | None) -> bool:
    # Without a complete version there is nothing to be outdated, unless what was tried has failed.
    return whole is not None or (newest is not None and newest.status == VersionStatus.FAILED)


def indexing_of(group: FeatureGroup) -> IndexingShape:
    """By which columns the group's rows are found; all null where nobody said."""
    kept = group.indexing or {}
    return IndexingShape(
        primary_key=kept.get("primaryKey"),
        update_timestamp_key=kept.get("updateTimestampKey"),
        lookup_keys=kept.get("lookupKeys") or [],
    )


def _concatenation(made_from: Definition) -> ConcatenationShape | None:
    config = made_from.concatenation
    if config is None:
        return None
    return ConcatenationShape(
        concatenated_table=config.table_name,
        merge_type=config.merge_type,
        replace_until_timestamp=config.replace_until_timestamp,
        skip_materialize=config.skip_materialize,
    )


def _code_shape(made_from: Definition, check_report: JsonObject | None, modules: list[str]) -> CodeShape | None:
    if made_from.source_code is None:
        return None
    notes = msgspec.convert(check_report or {}, CheckNotes)
    return CodeShape(
        # A text of its own, or the registered Python function that it names. Source: the SDK's code_source.py.
        source_type="PYTHON" if made_from.python_function else "TEXT",
        source_code=made_from.source_code,
        application_connector_id=None,
        application_connector_info=None,
        package_requirements=notes.requirements or (list(made_from.requirements) if made_from.python_function else []),
        status="COMPLETE",
        error=None,
        publishing_msg=notes.publishing_msg,
        module_dependencies=modules,
    )


def _features(version: FeatureGroupVersion, group: FeatureGroup) -> list[FeatureShape]:
    return group_features(group, version.manifest.columns) if version.table is not None else []


def _readers(session: Session, ids: Sequence[FeatureGroupId]) -> dict[FeatureGroupId, list[str]]:
    """Which groups read each of those, by id."""
    edges = select(FeatureGroupInput).where(FeatureGroupInput.parent_id.in_(ids))
    readers: dict[FeatureGroupId, list[str]] = {}
    for edge in session.scalars(edges.order_by(FeatureGroupInput.feature_group_id)):
        readers.setdefault(edge.parent_id, []).append(edge.feature_group_id)
    return readers

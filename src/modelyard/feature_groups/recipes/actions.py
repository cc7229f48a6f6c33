"""Feature groups made from one other group: samples, merges of versions, snapshots."""

from typing import Any

from modelyard.actions import Call, action
from modelyard.database import Database
from modelyard.errors import (
    AlreadyExistsError,
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    NotReadyError,
    PermissionDeniedError,
)
from modelyard.feature_groups import registering
from modelyard.feature_groups.definition import Definition, Input
from modelyard.feature_groups.described import check_feature, columns_of
from modelyard.feature_groups.modifying import get_modifiable
from modelyard.feature_groups.recipes import reading as derived
from modelyard.feature_groups.recipes import snapshots
from modelyard.feature_groups.records import FeatureGroup, SourceType
from modelyard.feature_groups.registering import Particulars
from modelyard.feature_groups.shapes import group_shape
from modelyard.feature_groups.tables import get_feature_group, get_version
from modelyard.feature_groups.wire import FeatureGroupShape
from modelyard.ids import FeatureGroupId, FeatureGroupVersionId

_CREATE_ERRORS = (
    DataNotFoundError, InvalidParameterError, InvalidEnumParameterError, AlreadyExistsError, ConflictError,
)  # fmt: skip
_SET_ERRORS = (
    DataNotFoundError, InvalidParameterError, InvalidEnumParameterError, ConflictError, PermissionDeniedError,
)  # fmt: skip


@action("POST", errors=_CREATE_ERRORS, own_transaction=True)
def create_sampling_feature_group(
    call: Call,
    *,
    feature_group_id: FeatureGroupId,
    table_name: str,
    sampling_config: dict[str, Any],
    description: str | None = None,
) -> FeatureGroupShape:
    """Creates a feature group from some of the rows of another: a number of them, or a share.

    With `keyColumns` it is values of these columns that are counted, each with all its rows. The same rows and `seed`
    always give the same sample.
    """
    source = get_feature_group(call.session, call.organization_id, feature_group_id)
    definition = _sampling(call, source, sampling_config)
    return _create(call, table_name, SourceType.SAMPLING, description, definition)


@action("POST", errors=_SET_ERRORS, own_transaction=True)
def set_feature_group_sampling_config(
    call: Call, *, feature_group_id: FeatureGroupId, sampling_config: dict[str, Any]
) -> FeatureGroupShape:
    """Has a sampling feature group draw its rows in another way, from its next version on."""
    group = get_modifiable(call, feature_group_id)
    _check_kind(group, SourceType.SAMPLING)
    return _redefine(call, group, _sampling(call, _source_of(call, group), sampling_config))


@action("POST", errors=_CREATE_ERRORS, own_transaction=True)
def create_merge_feature_group(
    call: Call,
    *,
    source_feature_group_id: FeatureGroupId,
    table_name: str,
    merge_config: dict[str, Any],
    description: str | None = None,
) -> FeatureGroupShape:
    """Creates a feature group from several versions of another, one below the other, oldest first.

    LAST_N takes the newest `numVersions`; TIME_WINDOW of all versions the rows whose `featureName` is at most
    `timeWindowSizeMs` older than the newest. A column that a version lacks is null there.
    """
    source = get_feature_group(call.session, call.organization_id, source_feature_group_id)
    return _create(call, table_name, SourceType.MERGE, description, _merge(call, source, merge_config))


@action("POST", errors=_SET_ERRORS, own_transaction=True)
def set_feature_group_merge_config(
    call: Call, *, feature_group_id: FeatureGroupId, merge_config: dict[str, Any]
) -> FeatureGroupShape:
    """Has a merge feature group put other versions together, from its next version on."""
    group = get_modifiable(call, feature_group_id)
    _check_kind(group, SourceType.MERGE)
    return _redefine(call, group, _merge(call, _source_of(call, group), merge_config))


@action("POST", errors=(*_CREATE_ERRORS, NotReadyError))
def create_snapshot_feature_group(
    call: Call, *, feature_group_version: FeatureGroupVersionId, table_name: str
) -> FeatureGroupShape:
    """Creates a feature group that holds one version of another for ever, without a copy of its rows."""
    version = get_version(call.session, call.organization_id, feature_group_version)
    return group_shape(call.session, snapshots.make_snapshot(call, version, table_name))


def _sampling(call: Call, source: FeatureGroup, config: dict[str, Any]) -> Definition:
    sampling = derived.read_sampling(config)
    columns = columns_of(call.session, source)
    for name in sampling.key_columns:
        check_feature(columns, name, f"Feature group {source.table_name}")
    return Definition(
        inputs=(Input(source.feature_group_id, source.table_name),),
        engine_sql=derived.sampling_sql(source.table_name, sampling),
        sampling=derived.as_given(sampling),
    )


def _merge(call: Call, source: FeatureGroup, config: dict[str, Any]) -> Definition:
    merge = derived.read_merge(config)
    if merge.feature_name is not None:
        check_feature(columns_of(call.session, source), merge.feature_name, f"Feature group {source.table_name}")
    return Definition(inputs=(Input(source.feature_group_id, source.table_name),), merge=derived.as_given(merge))


def _check_kind(group: FeatureGroup, kind: SourceType) -> None:
    if group.source_type != kind:
        raise ConflictError(f"Feature group {group.table_name} is made from {group.source_type}, it is no {kind}")


def _source_of(call: Call, group: FeatureGroup) -> FeatureGroup:
    return get_feature_group(call.session, call.organization_id, group.made_from.inputs[0].feature_group_id)


def _create(
    call: Call, table_name: str, kind: SourceType, description: str | None, definition: Definition
) -> FeatureGroupShape:
    registering.check_table_name(call.session, call.organization_id, table_name)
    particulars = Particulars(table_name=table_name, source_type=kind, description=description)
    return _described(call, registering.create(call, particulars, definition))


def _redefine(call: Call, group: FeatureGroup, definition: Definition) -> FeatureGroupShape:
    registering.redefine(call, group.feature_group_id, definition)
    return _described(call, group.feature_group_id)


def _described(call: Call, feature_group_id: FeatureGroupId) -> FeatureGroupShape:
    with call.parts.get(Database).read() as session:
        return group_shape(session, get_feature_group(session, call.organization_id, feature_group_id))

"""What stands between a dataset and its feature group: made with it, given a version with each of its, gone with it.

`app.py` registers these functions with the datasets' events; they run in the transaction of the event itself, so a
dataset is never seen without its group, nor a finished import without its version.
"""

from typing import NamedTuple

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.datasets.finding import newest_complete, newest_version
from modelyard.datasets.records import Dataset, DatasetVersion
from modelyard.datasets.records import VersionStatus as DatasetStatus
from modelyard.errors import AlreadyExistsError, ConflictError
from modelyard.feature_groups import versions
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.lineage import named_users, users_of
from modelyard.feature_groups.online.groups import online_indexing
from modelyard.feature_groups.pruning import forget_group, prune_dataset
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, SourceType
from modelyard.feature_groups.registering import find_in_any_case
from modelyard.ids import DatasetId, DatasetVersionId, FeatureGroupId, new_id
from modelyard.storage import Table


class ImportState(NamedTuple):
    """How far the dataset behind a group has come."""

    #: The newest table, once there is one.
    table: Table | None
    dataset_version: DatasetVersionId | None
    #: An import is waited for or under way.
    is_running: bool
    #: Why there is no table.
    reason: str


def make_group(session: Session, dataset: Dataset) -> None:
    """Makes the feature group of a new dataset."""
    taken = find_in_any_case(session, dataset.organization_id, dataset.feature_group_table_name)
    if taken is not None:
        raise AlreadyExistsError(f"There is a table {taken.table_name} already; choose another name")
    is_online = dataset.online_table_id is not None
    definition = Definition(
        dataset_id=None if is_online else dataset.dataset_id, online_table_id=dataset.online_table_id
    )
    now = utc_now()
    group = FeatureGroup(
        feature_group_id=FeatureGroupId(new_id()),
        organization_id=dataset.organization_id,
        table_name=dataset.feature_group_table_name,
        source_type=SourceType.ONLINE if is_online else SourceType.DATASET,
        indexing=online_indexing(session, dataset.online_table_id),
        dataset_id=dataset.dataset_id,
        definition=versions.to_json(definition),
        definition_digest=definition.digest,
        use_gpu=False,
        use_original_csv_names=False,
        version_limit=dataset.version_limit,
        last_version_number=0,
        created_at=now,
        updated_at=now,
    )
    session.add(group)
    session.flush()


def add_dataset_version(session: Session, dataset_version: DatasetVersion) -> None:
    """Gives the dataset's group a version with the table of the dataset's version: the same blobs, no copy."""
    group = find_group(session, dataset_version.dataset_id)
    if group is not None and group.source_type == SourceType.ONLINE and dataset_version.table is not None:
        table = msgspec.convert(dataset_version.table, Table)
        version = versions.write_version_from_table(
            session, group, table, dataset_version=dataset_version.dataset_version
        )
        version.online_change = dataset_version.online_change
        prune_dataset(session, session.get_one(Dataset, dataset_version.dataset_id))
    elif group is not None and not group.is_given:
        definition = msgspec.structs.replace(group.made_from, dataset_version=dataset_version.dataset_version)
        group.definition, group.definition_digest = versions.to_json(definition), definition.digest
    elif group is not None and dataset_version.table is not None:
        table = msgspec.convert(dataset_version.table, Table)
        versions.write_version_from_table(session, group, table, dataset_version=dataset_version.dataset_version)
        prune_dataset(session, session.get_one(Dataset, dataset_version.dataset_id))


def delete_group(session: Session, dataset: Dataset) -> None:
    """Deletes the group of a dataset that is being deleted; ConflictError names what stands on it."""
    group = find_group(session, dataset.dataset_id)
    if group is None:
        return
    users = users_of(session, group.feature_group_id)
    if users:
        raise ConflictError(f"Dataset {dataset.dataset_id} is used by {', '.join(users)}; delete those first")
    mine = FeatureGroupVersion.feature_group_id == group.feature_group_id
    versions_of_group = session.scalars(select(FeatureGroupVersion.feature_group_version).where(mine)).all()
    if named := named_users(session, versions_of_group):
        raise ConflictError(f"Dataset {dataset.dataset_id} is what {named} was made from; it is kept")
    forget_group(session, group)
    session.delete(group)
    session.flush()


def find_group(session: Session, dataset_id: str) -> FeatureGroup | None:
    """The group of the dataset."""
    return session.scalars(select(FeatureGroup).where(FeatureGroup.dataset_id == dataset_id)).first()


def import_state(session: Session, group: FeatureGroup) -> ImportState:
    """Whether the dataset of a DATASET group has rows, will have, or failed to."""
    dataset_id = DatasetId(group.dataset_id or "")
    whole = newest_complete(session, dataset_id)
    if whole is not None and whole.table is not None:
        return ImportState(msgspec.convert(whole.table, Table), whole.dataset_version, False, "")
    newest = newest_version(session, dataset_id)
    if newest is None:
        return ImportState(None, None, False, "nothing was uploaded to its dataset yet")
    if newest.status == DatasetStatus.FAILED:
        return ImportState(
            None, None, False, f"the import of its dataset failed: {newest.error or 'no reason was given'}"
        )
    return ImportState(None, None, True, "its dataset is still being imported")

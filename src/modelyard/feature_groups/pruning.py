"""Which versions are kept: as many as the limit says, and older ones that something stands on.

A version is stood on by versions that were made from it, by trained models, by snapshots; who stands on one says so in
`lineage.note_version_users`. The newest complete version is always kept, and so is what isn't finished. Rows that two
versions share are blobs of their own, and stay with the other.
"""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from modelyard.datasets.records import Dataset, DatasetVersion, Upload
from modelyard.datasets.records import VersionStatus as DatasetStatus
from modelyard.feature_groups.lineage import forget_user, forget_version_user, version_users
from modelyard.feature_groups.records import (
    UNFINISHED,
    FeatureGroup,
    FeatureGroupVersion,
    VersionStatus,
)
from modelyard.ids import DatasetVersionId


def prune(session: Session, group: FeatureGroup) -> int:
    """Deletes the oldest versions past the group's limit that nothing stands on; gives how many."""
    mine = FeatureGroupVersion.feature_group_id == group.feature_group_id
    newest_first = select(FeatureGroupVersion).where(mine).order_by(FeatureGroupVersion.number.desc())
    versions = session.scalars(newest_first).all()
    newest_whole = next((each for each in versions if each.status == VersionStatus.COMPLETE), None)
    old = [
        each for each in versions[group.version_limit :] if each.status not in UNFINISHED and each is not newest_whole
    ]
    stood_on = version_users(session, [each.feature_group_version for each in old])
    free = [each for each in old if each.feature_group_version not in stood_on]
    for version in free:
        delete_version(session, version)
    session.flush()
    return len(free)


def delete_version(session: Session, version: FeatureGroupVersion) -> None:
    """Deletes one version, which then no longer stands on those that it was made from."""
    forget_version_user(session, "feature group version", version.feature_group_version)
    session.delete(version)


def forget_group(session: Session, group: FeatureGroup) -> None:
    """Takes back what a group that is being deleted stands on, and its versions."""
    forget_user(session, "snapshot", group.feature_group_id)
    forget_version_user(session, "snapshot", group.feature_group_id)
    mine = FeatureGroupVersion.feature_group_id == group.feature_group_id
    for version in session.scalars(select(FeatureGroupVersion.feature_group_version).where(mine)).all():
        forget_version_user(session, "feature group version", version)


def prune_dataset(session: Session, dataset: Dataset) -> int:
    """Deletes the oldest versions past the dataset's limit whose rows no feature group has; gives how many."""
    mine = DatasetVersion.dataset_id == dataset.dataset_id
    newest_first = (DatasetVersion.created_at.desc(), DatasetVersion.dataset_version.desc())
    versions = session.scalars(select(DatasetVersion).where(mine).order_by(*newest_first)).all()
    old = [
        each
        for each in versions[dataset.version_limit :]
        if each.status in (DatasetStatus.COMPLETE, DatasetStatus.FAILED)
    ]
    stood_on = dataset_versions_in_use(session, [each.dataset_version for each in old])
    free = [each for each in old if each.dataset_version not in stood_on]
    for version in free:
        delete_dataset_version(session, version)
    session.flush()
    return len(free)


def delete_dataset_version(session: Session, version: DatasetVersion) -> None:
    """Deletes one version with the bytes that were uploaded for it."""
    session.execute(delete(Upload).where(Upload.dataset_version == version.dataset_version))
    session.delete(version)


def dataset_versions_in_use(session: Session, ids: Sequence[DatasetVersionId]) -> set[DatasetVersionId]:
    """Those whose rows are a version of a feature group."""
    used = select(FeatureGroupVersion.dataset_version).where(FeatureGroupVersion.dataset_version.in_(ids))
    return {each for each in session.scalars(used) if each is not None}

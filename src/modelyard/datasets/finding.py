"""Finds datasets, versions and uploads for their own organisation; another's id looks exactly like an unknown one."""

from collections.abc import Sequence

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, aliased

from modelyard.datasets.records import Dataset, DatasetVersion, Upload, VersionStatus
from modelyard.errors import DataNotFoundError
from modelyard.ids import DatasetId, DatasetVersionId, OrganizationId, UploadId


def get_dataset(session: Session, organization_id: OrganizationId, dataset_id: DatasetId) -> Dataset:
    """The dataset; DataNotFoundError if that organisation has none of that id."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None or dataset.organization_id != organization_id:
        raise DataNotFoundError(f"Dataset {dataset_id} was not found")
    return dataset


def get_version(session: Session, organization_id: OrganizationId, dataset_version: DatasetVersionId) -> DatasetVersion:
    """The dataset version; DataNotFoundError if that organisation has none of that id."""
    version = session.get(DatasetVersion, dataset_version)
    if version is None or version.organization_id != organization_id:
        raise DataNotFoundError(f"Dataset version {dataset_version} was not found")
    return version


def get_upload(session: Session, organization_id: OrganizationId, upload_id: UploadId) -> Upload:
    """The upload, held until the transaction's end; DataNotFoundError if that organisation has none of that id."""
    upload = session.get(Upload, upload_id, with_for_update=True)
    if upload is None or upload.organization_id != organization_id:
        raise DataNotFoundError(f"Upload {upload_id} was not found")
    return upload


def newest_version(session: Session, dataset_id: DatasetId) -> DatasetVersion | None:
    """The version made last, whatever its state."""
    return newest_versions(session, [dataset_id]).get(dataset_id)


def newest_complete(session: Session, dataset_id: DatasetId) -> DatasetVersion | None:
    """The newest version that has its table."""
    return newest_versions(session, [dataset_id], VersionStatus.COMPLETE).get(dataset_id)


def newest_versions(
    session: Session, dataset_ids: Sequence[DatasetId], *statuses: VersionStatus
) -> dict[DatasetId, DatasetVersion]:
    """For each dataset its newest version in one of `statuses` (in any, if none is named); absent where it has none."""
    later = aliased(DatasetVersion)
    position = (DatasetVersion.created_at, DatasetVersion.dataset_version)
    newer = (
        select(later.dataset_version)
        .where(later.dataset_id == DatasetVersion.dataset_id)
        .where(tuple_(later.created_at, later.dataset_version) > tuple_(*position))
    )
    query = select(DatasetVersion).where(DatasetVersion.dataset_id.in_(dataset_ids))
    if statuses:
        newer, query = newer.where(later.status.in_(statuses)), query.where(DatasetVersion.status.in_(statuses))
    return {version.dataset_id: version for version in session.scalars(query.where(~newer.exists()))}

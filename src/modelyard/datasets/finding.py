"""Finds datasets, versions and uploads for their own organisation; another's id looks exactly like an unknown one."""

from sqlalchemy import select
from sqlalchemy.orm import Session

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
    query = select(DatasetVersion).where(DatasetVersion.dataset_id == dataset_id)
    return session.scalars(
        query.order_by(DatasetVersion.created_at.desc(), DatasetVersion.dataset_version.desc()).limit(1)
    ).first()


def newest_complete(session: Session, dataset_id: DatasetId) -> DatasetVersion | None:
    """The newest version that has its table."""
    query = select(DatasetVersion).where(
        DatasetVersion.dataset_id == dataset_id, DatasetVersion.status == VersionStatus.COMPLETE
    )
    return session.scalars(
        query.order_by(DatasetVersion.created_at.desc(), DatasetVersion.dataset_version.desc()).limit(1)
    ).first()

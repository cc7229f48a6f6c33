"""How a schedule makes a dataset anew: its file is read again from where it lies, as the next version."""

import msgspec
from sqlalchemy.orm import Session

from modelyard.container import Container
from modelyard.datasets.creating import add_snapshot, add_sourced_version
from modelyard.datasets.finding import get_dataset
from modelyard.datasets.reading import Reading
from modelyard.datasets.records import Dataset, DatasetVersion, SourceType, VersionStatus
from modelyard.datasets.sources import source_of
from modelyard.errors import InvalidParameterError
from modelyard.ids import DatasetId, DatasetVersionId, OrganizationId, ProjectId
from modelyard.refresh.records import RefreshType
from modelyard.refresh.targets import Progress, Refreshable, Refreshers


def register(parts: Container) -> None:
    """Tells refresh of this room."""
    parts.get(Refreshers).register(RefreshType.DATASET, Refreshable(_check, _in_project, _start, _progress))


def _check(session: Session, organization_id: OrganizationId, dataset_id: str) -> None:
    dataset = get_dataset(session, organization_id, DatasetId(dataset_id))
    if dataset.source_type == SourceType.UPLOAD:
        raise InvalidParameterError(
            f"Dataset {dataset_id} was uploaded, so there is no place to read it from again; "
            "call createDatasetVersionFromUpload for its next version"
        )


def _in_project(_session: Session, _project_id: ProjectId) -> list[str]:
    return []  # datasets belong to the organisation


def _start(session: Session, dataset_id: str) -> str:
    dataset = session.get_one(Dataset, DatasetId(dataset_id))
    if dataset.source_type == SourceType.STREAMING:
        return add_snapshot(session, dataset).dataset_version
    reading = msgspec.convert(dataset.reading, Reading)
    return add_sourced_version(session, dataset, reading, source_of(dataset)).dataset_version


def _progress(session: Session, dataset_version: str) -> Progress:
    version = session.get(DatasetVersion, DatasetVersionId(dataset_version))
    if version is None:
        return Progress(ended=True, error="the dataset was deleted")
    ended = version.status in (VersionStatus.COMPLETE, VersionStatus.FAILED)
    return Progress(ended=ended, error=version.error)

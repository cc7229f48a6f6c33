"""The agent's first step with an imported model: its files, from uploads or a location, into one archive of our own.

Bytes are copied and not looked into. Called by the run that trains; what is wrong with the files is TrainingFailed.
"""

import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO, Any, cast

from sqlalchemy import select

from modelyard.connectors.locations import find_place
from modelyard.datasets.records import UploadPart
from modelyard.errors import ApiError
from modelyard.execution import RunContext
from modelyard.ids import Digest, ModelVersionId
from modelyard.models.imports import ARTIFACTS, Imported, imported_of
from modelyard.models.records import Model, ModelVersion
from modelyard.models.training import TrainingFailed
from modelyard.storage import BlobStore

_CHUNK = 1024**2


def bring(run: RunContext, model_version: ModelVersionId) -> Digest | None:
    """The archive of an imported model's files, pinned in its version; None for all other models."""
    with run.read() as session:
        version = session.get_one(ModelVersion, model_version)
        model = session.get_one(Model, version.model_id)
        if model.imported is None or version.input_digest is not None:
            return version.input_digest
    imported = imported_of(model)
    try:
        digest = _from_location(run, model, imported) if imported.location else _from_uploads(run, version, imported)
    except ApiError as error:
        raise TrainingFailed(error.message) from error
    with run.transaction() as session:
        session.get_one(ModelVersion, model_version).input_digest = digest
    return digest


def _from_uploads(run: RunContext, version: ModelVersion, imported: Imported) -> Digest:
    sources: dict[str, list[Digest]] = {}
    with run.read() as session:
        for artifact, upload_id in (version.artifact_uploads or {}).items():
            query = select(UploadPart).where(UploadPart.upload_id == upload_id).order_by(UploadPart.part_number)
            sources[_named(artifact, imported)] = [part.digest for part in session.scalars(query)]
    store = run.parts.get(BlobStore)
    return _packed(run, {name: _blobs(store, digests) for name, digests in sources.items()})


def _from_location(run: RunContext, model: Model, imported: Imported) -> Digest:
    assert imported.location is not None
    with run.read() as session:
        found = find_place(session, run.settings, model.organization_id, imported.location)
    wanted = {"model": ""} if not imported.location.endswith("/") else dict(imported.artifact_names)
    files: dict[str, Iterator[bytes]] = {}
    for artifact, name in wanted.items():
        files[_named(artifact, imported)] = _read(run, found.at(imported.location + name))
    return _packed(run, files)


def _read(run: RunContext, found: Any) -> Iterator[bytes]:
    with found.open() as place:
        [file] = place.files()
        left = run.settings.location_limit
        for chunk in place.read(file):
            run.check_cancelled()
            left -= len(chunk)
            if left < 0:
                raise TrainingFailed(f"The file has more than {run.settings.location_limit:,} bytes (location_limit).")
            yield chunk


def _blobs(store: BlobStore, digests: list[Digest]) -> Iterator[bytes]:
    for digest in digests:
        with store.open(digest) as stream:
            yield from iter(lambda: stream.read(_CHUNK), b"")


def _packed(run: RunContext, files: dict[str, Iterator[bytes]]) -> Digest:
    """One archive, in the form in which the files of a training are kept."""
    folder = run.settings.home / "joining"
    folder.mkdir(mode=0o700, exist_ok=True)
    store = run.parts.get(BlobStore)
    with store.writer() as writer:
        with tarfile.open(fileobj=cast(IO[bytes], writer), mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for name in sorted(files):
                with tempfile.TemporaryFile(dir=folder) as whole:
                    for chunk in files[name]:
                        whole.write(chunk)
                    entry = tarfile.TarInfo(name)
                    entry.size, entry.mode = whole.tell(), 0o644
                    whole.seek(0)
                    archive.addfile(entry, whole)
        return writer.finish().digest


def _named(artifact: str, imported: Imported) -> str:
    return imported.file if artifact == "model" else ARTIFACTS[artifact]

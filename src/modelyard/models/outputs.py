"""What a training leaves: the artifact and the files as blobs, the metrics as data. Everything of it is hostile.

`training.py` calls `collect` when the guest's processes are dead and its files lie still; the blobs are in the store,
referred to by nobody, until the version that owns them becomes COMPLETE.
"""

from typing import IO, Any, cast

import msgspec

from modelyard.ids import Digest
from modelyard.sandbox import Guest
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.settings import Settings
from modelyard.storage import Blob, BlobStore


class BadOutput(Exception):
    """What the training left can't be kept; the message is a sentence for the user."""


class Outputs(msgspec.Struct, frozen=True):
    """All that is kept of a training."""

    artifact: Digest
    artifact_size: int
    files: Digest | None
    files_size: int | None
    metrics: dict[str, float]
    steps: list[dict[str, Any]]
    #: Whether `predict` is to be given the tables of the training as well.
    predict_takes_tables: bool


class _Artifact(msgspec.Struct):
    path: str
    size: int


class _Metrics(msgspec.Struct):
    final: dict[str, float]
    steps: list[dict[str, str | float | bool]]


class _Reply(msgspec.Struct):
    artifact: _Artifact
    metrics: _Metrics
    predict_takes_tables: bool = False


def collect(store: BlobStore, settings: Settings, guest: Guest, result: dict[str, Any]) -> Outputs:
    """Takes what the guest left into the store; BadOutput where it isn't what a training leaves."""
    try:
        reply = msgspec.convert(result, _Reply)
        with guest.open(reply.artifact.path) as source:
            artifact = store.put_stream(cast(Any, source))
        files = _keep_files(store, settings, guest)
    except msgspec.ValidationError as error:
        raise BadOutput(f"The training ended with an answer that is none: {error}") from error
    except ScratchRefused as error:
        raise BadOutput(str(error)) from error
    return Outputs(
        artifact.digest,
        artifact.size,
        files.digest if files else None,
        files.size if files else None,
        reply.metrics.final,
        reply.metrics.steps,
        reply.predict_takes_tables,
    )


def _keep_files(store: BlobStore, settings: Settings, guest: Guest) -> Blob | None:
    total = int(settings.scratch_gib * 1024**3)
    if not guest.files(total=total):
        return None
    with store.writer() as writer:
        guest.pack(cast(IO[bytes], writer), total=total)
        return writer.finish()

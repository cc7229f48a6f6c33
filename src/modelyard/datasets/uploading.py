"""Parts of an upload: each a blob, in any order, from many threads at once; complete when 1 to N are there.

The client neither looks at the answer to a part nor counts them, so a part that got lost is noticed here or nowhere.
Source: the SDK's `upload.py`, `upload_part`, whose thread pool's results are never read.
"""

import hashlib
from pathlib import Path
from typing import IO

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.actions import UploadedFile
from modelyard.datasets.records import Upload, UploadPart, UploadStatus
from modelyard.errors import ConflictError, InvalidParameterError
from modelyard.settings import Settings
from modelyard.storage import Blob, BlobStore

#: Parts that one upload may have. Source: the SDK's `upload.py` cuts files so that there are no more.
MOST_PARTS = 10_000


def check_part(settings: Settings, upload: Upload, number: int, data: UploadedFile) -> None:
    """Raises unless that part may arrive now."""
    check_open(upload)
    if not 1 <= number <= MOST_PARTS:
        raise InvalidParameterError(f"partNumber must be 1 to {MOST_PARTS:,}, not {number}")
    if data.size > settings.part_limit:
        raise InvalidParameterError(
            f"Part {number} has {data.size:,} bytes, more than the limit of {settings.part_limit:,} (part_limit)"
        )


def check_open(upload: Upload) -> None:
    """Raises ConflictError once the upload has ended."""
    if upload.status != UploadStatus.PENDING:
        raise ConflictError(
            f"Upload {upload.upload_id} is {upload.status}; no part can be added to it, nor can it end again"
        )


def store_part(blobs: BlobStore, data: UploadedFile) -> tuple[Blob, str]:
    """Moves the part's bytes into the store; gives the blob and its MD5, by which clients compare."""
    hasher = hashlib.md5(usedforsecurity=False)

    def bring(target: Path) -> IO[bytes]:
        Path(data.path).rename(target)  # both lie below the home
        return target.open("rb")

    blob = blobs.adopt(bring, hasher.update)
    return blob, hasher.hexdigest()


def parts_of(session: Session, upload: Upload) -> list[UploadPart]:
    """The parts that have arrived, in the order of the file."""
    query = select(UploadPart).where(UploadPart.upload_id == upload.upload_id).order_by(UploadPart.part_number)
    return list(session.scalars(query))


def check_whole(settings: Settings, upload: Upload, parts: list[UploadPart]) -> int:
    """The upload's bytes in all; raises where a part is missing or there are too many bytes."""
    if not parts:
        raise InvalidParameterError(f"Upload {upload.upload_id} has no part yet; send the file's parts first")
    numbers = {part.part_number for part in parts}
    missing = [number for number in range(1, max(numbers) + 1) if number not in numbers]
    if missing:
        shown = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
        raise InvalidParameterError(
            f"Upload {upload.upload_id} has {len(parts)} of {max(numbers)} parts; missing: {shown}. Send these again"
        )
    size = sum(part.size for part in parts)
    if size > settings.upload_limit:
        raise InvalidParameterError(
            f"The upload has {size:,} bytes, more than the limit of {settings.upload_limit:,} (upload_limit)"
        )
    return size

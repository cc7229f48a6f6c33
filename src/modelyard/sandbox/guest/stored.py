"""Files that the platform keeps as one archive, laid down again: those of a training, or a model's code."""

import os
import pathlib
import shutil
import tarfile

from .failures import Refused


def unpack(descriptor: int, folder: str = ".") -> list[str]:
    """Unpacks what the host packed into `folder`; gives the names. Closes the descriptor."""
    with os.fdopen(descriptor, "rb") as file, tarfile.open(fileobj=file, mode="r|") as archive:
        return [_unpack_member(archive, member, folder) for member in archive]


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: str) -> str:
    """One plain file below `folder`. By hand: `extractall(filter=...)` is missing before Python 3.11.4."""
    path = pathlib.PurePosixPath(member.name)
    content = archive.extractfile(member) if member.isreg() else None
    if content is None or path.is_absolute() or ".." in path.parts:
        raise Refused(f"The stored files of the model are damaged: {member.name!r} is no file of theirs.", "ValueError")
    target = pathlib.Path(folder, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, open(target, "wb") as out:
        shutil.copyfileobj(content, out)
    os.chmod(target, (member.mode & 0o777) | 0o600)
    return member.name

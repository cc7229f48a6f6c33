"""Twins of tables past their limit go, those that were used longest ago first. All of them can be made again."""

import os
from pathlib import Path


def evict_files(folder: Path, limit_bytes: float) -> int:
    """Removes files until the others fit; gives how many. Who has one open keeps it until it is closed."""
    if not folder.is_dir():
        return 0
    files = sorted(
        ((entry.stat(), entry.path) for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)),
        key=lambda found: found[0].st_mtime,
    )
    too_much = sum(found.st_blocks * 512 for found, _ in files) - limit_bytes
    removed = 0
    for found, path in files:
        if too_much <= 0:
            break
        Path(path).unlink(missing_ok=True)
        too_much, removed = too_much - found.st_blocks * 512, removed + 1
    return removed

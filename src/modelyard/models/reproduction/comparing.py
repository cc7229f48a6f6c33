"""What differs between two versions: in the five things that they were made from, and in what came out."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from modelyard.environments import EnvironmentFailure
from modelyard.environments.lock import parse_lock
from modelyard.models.definition import definition_of
from modelyard.models.history.differences import diff_texts, differences
from modelyard.models.history.listing import told
from modelyard.models.records import ModelRevision, ModelVersion
from modelyard.models.reproduction.wire import VersionDiffShape
from modelyard.models.versions import read_texts
from modelyard.source_code.pins import Pins

#: What a version may have of its own, over its revision; it is told under `config` and the like.
_OVERRIDABLE = ("trainingInputTables", "trainingFeatureGroupIds", "cpuSize", "memory", "trainingConfig", "useGpu")


def compare_versions(session: Session, before: ModelVersion, after: ModelVersion) -> VersionDiffShape:
    """What differs between the two."""
    old, new = session.get_one(ModelRevision, before.revision_id), session.get_one(ModelRevision, after.revision_id)
    locks = [each.lock_digest for each in (before, after) if each.lock_digest]
    texts = read_texts(session, [old.source_digest, new.source_digest, *locks])
    lock, new_lock = (texts[each.lock_digest] if each.lock_digest else "" for each in (before, after))
    packages, new_packages = _packages(lock), _packages(new_lock)
    is_read = packages is not None and new_packages is not None
    found = differences(
        _told(before, old) | {"packages": packages if is_read else None},
        _told(after, new) | {"packages": new_packages if is_read else None},
    )
    titles = (_title(before), _title(after))
    source_diff = diff_texts(texts[old.source_digest], texts[new.source_digest], *titles)
    lock_diff = "" if is_read else diff_texts(lock, new_lock, *(f"lock of {title}" for title in titles))
    body = [*(each.line for each in found), *(diff.rstrip("\n") for diff in (lock_diff, source_diff) if diff)]
    return VersionDiffShape(
        before=before.model_version,
        after=after.model_version,
        differences=found,
        source_diff=source_diff,
        lock_diff=lock_diff,
        text="\n".join([f"{titles[0]} -> {titles[1]}", "", *(body or ["They are the same."])]) + "\n",
    )


def _packages(lock: str) -> dict[str, str] | None:
    """Package -> version; None of a lock that can't be read, whose text is then all that can be compared."""
    try:
        return {each.name: each.version for each in parse_lock(lock).packages}
    except EnvironmentFailure:
        return None


def _told(version: ModelVersion, revision: ModelRevision) -> dict[str, Any]:
    says = {name: value for name, value in told(definition_of(revision)).items() if name not in _OVERRIDABLE}
    pinned: Sequence[str | None] = version.feature_group_versions or [None] * len(version.training_input_tables)
    return {
        "revision": {"number": revision.number, **says},
        "modules": dict(Pins.of(version.module_pins).modules),
        "tables": dict(zip(version.training_input_tables, pinned, strict=False)),
        "config": {**(version.training_config or {}), "seed": version.seed},
        "size": {"cpuSize": version.cpu_size, "memory": version.memory_gib, "useGpu": version.use_gpu},
        "runtime": version.runtime or {},
        "metrics": version.metrics or {},
        "artifact": version.artifact_digest,
        "files": version.files_digest,
    }


def _title(version: ModelVersion) -> str:
    return f"version {version.number} ({version.model_version})"

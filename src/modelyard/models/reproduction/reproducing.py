"""A version trained again from exactly the five things that it was made from, and whether the same came out.

`reproduce` puts it on the table; the run is an ordinary training (`runs.train`) that takes the pinned lock and tables,
and writes the report of `compare` in the transaction that ends it. A reproduction proves something about another
version and replaces none: it becomes neither its model's newest version nor the newest complete one, no deployment
takes it by itself, and rooms above do not hear of its end.
"""

import hashlib
import tarfile
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.database import JsonObject
from modelyard.errors import ConflictError
from modelyard.feature_groups import lineage
from modelyard.ids import Digest, FeatureGroupVersionId, ModelVersionId, UserId, new_id
from modelyard.models.history.differences import Difference, differences
from modelyard.models.outputs import Outputs
from modelyard.models.records import Model, ModelVersion, VersionStatus
from modelyard.models.reproduction.wire import ReproductionShape
from modelyard.models.retrain import put_on_table
from modelyard.models.versions import check_complete, tables_of
from modelyard.settings import Settings
from modelyard.storage import BlobStore

#: Columns that the reproduction has of the version that it is to be the same as.
_SAME = (
    "model_id", "organization_id", "project_id", "revision_id", "training_input_tables", "feature_group_ids",
    "cpu_size", "memory_gib", "use_gpu", "training_config", "fingerprint", "module_pins", "seed", "seed_given",
    "feature_group_versions", "lock_digest", "artifact_uploads", "input_digest",
)  # fmt: skip


def reproduce(session: Session, settings: Settings, version: ModelVersion, user_id: UserId | None) -> ModelVersion:
    """A new PENDING version with the five things of a COMPLETE one; ConflictError where one of them is gone."""
    check_complete(version, "reproduced")
    tables_of(session, version)
    locked = select(Model).where(Model.model_id == version.model_id).with_for_update()
    model = session.scalars(locked.execution_options(populate_existing=True)).one()
    if model.imported is not None or version.lock_digest is None:
        raise ConflictError(f"Model version {version.model_version} can't be reproduced: it was not trained here.")
    again = ModelVersion(
        model_version=ModelVersionId(new_id()),
        number=model.versions + 1,
        status=VersionStatus.PENDING,
        reproduction_of=version.model_version,
        pending_deployment_ids=[],
        failed_deployment_ids=[],
        created_at=utc_now(),
        **{name: getattr(version, name) for name in _SAME},
    )
    put_on_table(session, settings, model, again, user_id)
    # From now on, not from when it is trained: what it needs must not be deleted while it waits.
    needed = [FeatureGroupVersionId(each) for each in again.feature_group_versions or []]
    lineage.note_version_users(session, needed, "model version", again.model_version, model.name)
    return again


def compare(store: BlobStore, original: ModelVersion, again: ModelVersion, outputs: Outputs) -> JsonObject:
    """What came out, beside what came out of the original: a `ReproductionShape` as a JSON column holds it."""
    artifact = differences(
        {"artifact": f"{original.artifact_digest} ({original.artifact_size} bytes)"},
        {"artifact": f"{outputs.artifact} ({outputs.artifact_size} bytes)"},
    )
    files: list[Difference] = []
    if original.files_digest != outputs.files:
        before, after = _files(store, original.files_digest), _files(store, outputs.files)
        files = differences({"files": before}, {"files": after})
    metrics = differences({"metrics": original.metrics or {}}, {"metrics": outputs.metrics})
    metrics += _first_other_step(original.metric_steps or [], outputs.steps)
    around = differences(
        {"environmentId": original.environment_id, "runtime": original.runtime},
        {"environmentId": again.environment_id, "runtime": again.runtime},
    )
    found = [*artifact, *files, *metrics, *around]
    is_same = not (artifact or files or metrics)
    first = "The same artifact, files and metrics came out." if is_same else "Not the same came out."
    report = ReproductionShape(
        is_same=is_same,
        is_artifact_same=not artifact,
        are_files_same=not files,
        are_metrics_same=not metrics,
        differences=found,
        text="\n".join([first, *(each.line for each in found)]) + "\n",
    )
    return dict(msgspec.to_builtins(report))


def _files(store: BlobStore, digest: Digest | None) -> dict[str, str]:
    """What is in an archive of files, which this platform wrote: name -> sha256 and size."""
    if digest is None:
        return {}
    found = {}
    with store.open(digest) as blob, tarfile.open(fileobj=blob, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                found[member.name] = f"{hashlib.file_digest(content, 'sha256').hexdigest()} ({member.size} bytes)"  # type: ignore[arg-type]  # readable is enough
    return found


def _first_other_step(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[Difference]:
    """Where the steps of metrics.jsonl part; those that follow from there on say nothing more."""
    for at in range(max(len(before), len(after))):
        old, new = (steps[at] if at < len(steps) else None for steps in (before, after))
        if old != new:
            return differences({f"metricSteps.{at}": old}, {f"metricSteps.{at}": new})
    return []

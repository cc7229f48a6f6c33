"""Where a version came from, all the way up, and what hangs on it, all the way down.

A node is a dataset version, a feature group version, a model version, or what stands on one (a deployment, a batch
prediction). Upwards each says the exact code, packages and versions that it was made with; they are kept with the
version, so the answer does not change when definitions do. Downwards goes by what was noted
(`lineage.note_version_users`, `versions.note_user`), so that nobody has to look through all versions.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import iso
from modelyard.datasets.records import Dataset, DatasetVersion
from modelyard.errors import ConflictError
from modelyard.feature_groups.lineage import version_users
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, FeatureGroupVersionUser
from modelyard.ids import FeatureGroupVersionId
from modelyard.models.records import Model, ModelRevision, ModelVersion, ModelVersionUser
from modelyard.models.versions import read_texts
from modelyard.models.wire import LineageNodeShape

#: Nodes that one answer may have.
MOST_NODES = 5_000
DATASET = "dataset version"
GROUP = "feature group version"
MODEL = "model version"


class Key(NamedTuple):
    """A node's kind and id."""

    kind: str
    id: str


def upwards(session: Session, start: Key) -> list[LineageNodeShape]:
    """The node and all that it was made from, each once, a node before what it was made from."""
    return [
        _shape(session, key, [f"{parent.kind} {parent.id}" for parent in parents])
        for key, parents in _walk(session, start, _parents).items()
    ]


def downwards(session: Session, start: Key) -> list[LineageNodeShape]:
    """All that was made from the node, directly or not, each once; with what of it it was made from."""
    edges = _walk(session, start, _children)
    made_from: dict[Key, list[str]] = {}
    for key, children in edges.items():
        for child in children:
            made_from.setdefault(child, []).append(f"{key.kind} {key.id}")
    return [_shape(session, key, made_from.get(key, [])) for key in edges if key != start]


def _walk(session: Session, start: Key, neighbours: Any) -> dict[Key, list[Key]]:
    edges: dict[Key, list[Key]] = {}
    level = [start]
    while level:
        if len(edges) + len(level) > MOST_NODES:
            raise ConflictError(f"More than {MOST_NODES:,} versions are connected with {start.kind} {start.id}")
        for key in level:
            edges[key] = list(dict.fromkeys(neighbours(session, key)))
        level = list(dict.fromkeys(each for key in level for each in edges[key] if each not in edges))
    return edges


def _parents(session: Session, key: Key) -> Iterator[Key]:
    if key.kind == GROUP:
        version = session.get(FeatureGroupVersion, key.id)
        if version is not None:
            yield from _keys(GROUP, [*(version.parents or {}).values(), *(version.merged_versions or [])])
            yield from _keys(DATASET, [version.dataset_version] if version.dataset_version else [])
    elif key.kind == MODEL:
        model_version = session.get(ModelVersion, key.id)
        yield from _keys(GROUP, (model_version.feature_group_versions or []) if model_version else [])


def _children(session: Session, key: Key) -> Iterator[Key]:
    if key.kind == DATASET:
        of = FeatureGroupVersion.dataset_version == key.id
        yield from _keys(GROUP, session.scalars(select(FeatureGroupVersion.feature_group_version).where(of)))
    elif key.kind == GROUP:
        for user in version_users(session, [FeatureGroupVersionId(key.id)]).get(FeatureGroupVersionId(key.id), []):
            if user.kind == "snapshot":
                of = FeatureGroupVersion.feature_group_id == user.user_id
                yield from _keys(GROUP, session.scalars(select(FeatureGroupVersion.feature_group_version).where(of)))
            else:
                yield Key(user.kind, user.user_id)
    elif key.kind == MODEL:
        users = select(ModelVersionUser).where(ModelVersionUser.model_version == key.id)
        for found in session.scalars(users.order_by(ModelVersionUser.kind, ModelVersionUser.user_id)):
            yield Key(found.kind, found.user_id)


def _keys(kind: str, ids: Iterable[str]) -> Iterator[Key]:
    return (Key(kind, each) for each in ids)


def _shape(session: Session, key: Key, made_from: list[str]) -> LineageNodeShape:
    name, status, created_at = "", "DELETED", None
    made_with: dict[str, Any] = {}
    if key.kind == DATASET and (version := session.get(DatasetVersion, key.id)) is not None:
        name = session.get_one(Dataset, version.dataset_id).feature_group_table_name
        status, created_at = version.status, iso(version.created_at)
        made_with = {"reading": version.reading, "location": version.location, "uploadId": version.upload_id}
    elif key.kind == GROUP and (group_version := session.get(FeatureGroupVersion, key.id)) is not None:
        name = session.get_one(FeatureGroup, group_version.feature_group_id).table_name
        status, created_at = group_version.status, iso(group_version.created_at)
        made_with = {
            "featureGroupId": group_version.feature_group_id,
            "number": group_version.number,
            "definition": group_version.definition,
            "code": group_version.pins,
            "lock": group_version.lock,
        }
    elif key.kind == MODEL and (model_version := session.get(ModelVersion, key.id)) is not None:
        name = session.get_one(Model, model_version.model_id).name
        status, created_at = model_version.status, iso(model_version.created_at)
        made_with = _made_with(session, model_version)
    elif key.kind not in (DATASET, GROUP, MODEL):
        known = _user_name(session, key)
        name, status = (known, "IN USE") if known is not None else ("", "DELETED")
    return LineageNodeShape(
        kind=key.kind, id=key.id, name=name, status=status, created_at=created_at, made_from=made_from,
        made_with=made_with,
    )  # fmt: skip


def _user_name(session: Session, key: Key) -> str | None:
    """What a deployment or batch prediction was called when it was noted, at whichever kind of version."""
    for users in (ModelVersionUser, FeatureGroupVersionUser):
        name = session.scalars(select(users.name).where(users.kind == key.kind, users.user_id == key.id)).first()
        if name is not None:
            return name
    return None


def _made_with(session: Session, version: ModelVersion) -> dict[str, Any]:
    """The code, the locked packages and the settings of a training."""
    revision = session.get_one(ModelRevision, version.revision_id)
    wanted = [revision.source_digest, *([version.lock_digest] if version.lock_digest else [])]
    texts = read_texts(session, wanted)
    return {
        "modelId": version.model_id,
        "revision": revision.number,
        "sourceCode": texts[revision.source_digest],
        "trainFunctionName": revision.train_function_name,
        "lock": texts.get(version.lock_digest) if version.lock_digest else None,
        "code": version.module_pins,
        "trainingConfig": version.training_config,
        "runtime": version.runtime,
    }

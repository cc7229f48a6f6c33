"""What stands on a feature group: groups that read it, and what the rooms above noted; and the way back to a cycle.

Rooms above say what they use (`note_user`), so that nobody deletes a table under a model.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from modelyard.feature_groups.records import (
    FeatureGroup,
    FeatureGroupInput,
    FeatureGroupUser,
    FeatureGroupVersion,
    FeatureGroupVersionUser,
)
from modelyard.ids import FeatureGroupId, FeatureGroupVersionId

#: Kinds of this room among what stands on versions.
OWN_KINDS = ("feature group version", "snapshot")
#: How many of the versions that were made from a group a refusal names.
MOST_NAMED = 20

#: Group -> the groups that it reads.
Edges = dict[FeatureGroupId, set[FeatureGroupId]]


def note_user(session: Session, feature_group_id: FeatureGroupId, kind: str, user_id: str, name: str = "") -> None:
    """Says that `kind` (\"model\", \"batch prediction\" ...) `user_id` stands on the group. May be said twice."""
    session.merge(FeatureGroupUser(feature_group_id=feature_group_id, kind=kind, user_id=user_id, name=name or user_id))


def note_users(
    session: Session, feature_group_ids: Iterable[FeatureGroupId], kind: str, user_id: str, name: str = ""
) -> None:
    """Says that these, and no other groups, are what `user_id` stands on."""
    forget_user(session, kind, user_id)
    for feature_group_id in dict.fromkeys(feature_group_ids):
        note_user(session, feature_group_id, kind, user_id, name)


def forget_user(session: Session, kind: str, user_id: str) -> None:
    """Takes back what was noted about it; for when it is deleted."""
    mine = (FeatureGroupUser.kind == kind, FeatureGroupUser.user_id == user_id)
    session.execute(delete(FeatureGroupUser).where(*mine))


def users_of(session: Session, feature_group_id: FeatureGroupId) -> list[str]:
    """What stands on the group, each as words for a caller: `feature group clean_rows`, `model Churn (1e58b9d68a)`."""
    readers = (
        select(FeatureGroup.table_name)
        .join(FeatureGroupInput, FeatureGroupInput.feature_group_id == FeatureGroup.feature_group_id)
        .where(FeatureGroupInput.parent_id == feature_group_id)
        .order_by(FeatureGroup.table_name)
    )
    noted = select(FeatureGroupUser).where(FeatureGroupUser.feature_group_id == feature_group_id)
    ordered = noted.order_by(FeatureGroupUser.kind, FeatureGroupUser.name)
    above = [f"{user.kind} {user.name}" + _in_brackets(user) for user in session.scalars(ordered)]
    return [f"feature group {name}" for name in session.scalars(readers)] + above + _made_of(session, feature_group_id)


def _made_of(session: Session, feature_group_id: FeatureGroupId) -> list[str]:
    """What the rooms above made from versions of the group, and could not make again without them."""
    user = FeatureGroupVersionUser
    query = (
        select(user.kind, user.user_id, user.name)
        .join(FeatureGroupVersion, FeatureGroupVersion.feature_group_version == user.feature_group_version)
        .where(FeatureGroupVersion.feature_group_id == feature_group_id, user.kind.not_in(OWN_KINDS))
        .distinct()
        .order_by(user.kind, user.name, user.user_id)
    )
    found = [f"{kind} {name} ({user_id})" for kind, user_id, name in session.execute(query)]
    return found if len(found) <= MOST_NAMED else [*found[:MOST_NAMED], f"{len(found) - MOST_NAMED} more"]


def set_inputs(session: Session, group: FeatureGroup, parent_ids: Iterable[FeatureGroupId]) -> None:
    """Writes the group's edges anew."""
    session.flush()
    session.execute(delete(FeatureGroupInput).where(FeatureGroupInput.feature_group_id == group.feature_group_id))
    for parent_id in dict.fromkeys(parent_ids):
        session.add(FeatureGroupInput(feature_group_id=group.feature_group_id, parent_id=parent_id))
    session.flush()


def ancestors(session: Session, feature_group_ids: Sequence[FeatureGroupId]) -> Edges:
    """The groups and all that they read, directly or not: group -> its direct parents."""
    edges: Edges = {each: set() for each in feature_group_ids}
    reached = (
        select(FeatureGroupInput.feature_group_id, FeatureGroupInput.parent_id)
        .where(FeatureGroupInput.feature_group_id.in_(feature_group_ids))
        .cte("reached", recursive=True)
    )
    above = select(FeatureGroupInput.feature_group_id, FeatureGroupInput.parent_id)
    above = above.join(reached, FeatureGroupInput.feature_group_id == reached.c.parent_id)
    for feature_group_id, parent_id in session.execute(select(reached.union(above))):
        edges.setdefault(feature_group_id, set()).add(parent_id)
        edges.setdefault(parent_id, set())
    return edges


def find_cycle(
    session: Session, feature_group_id: FeatureGroupId, parent_ids: Sequence[FeatureGroupId]
) -> list[FeatureGroupId] | None:
    """The way from the group back to itself if it read those parents; None where there is none."""
    edges = ancestors(session, parent_ids)
    paths = [[feature_group_id, parent] for parent in parent_ids]
    seen: set[FeatureGroupId] = set()
    while paths:
        path = paths.pop()
        if path[-1] == feature_group_id:
            return path
        if path[-1] not in seen:
            seen.add(path[-1])
            paths.extend([*path, parent] for parent in sorted(edges.get(path[-1], ())))
    return None


def in_order(edges: Edges) -> list[FeatureGroupId]:
    """The groups of `edges`, each after all that it reads."""
    ordered: dict[FeatureGroupId, None] = {}
    waiting = dict(sorted(edges.items()))
    while waiting:
        ready = [each for each, parents in waiting.items() if parents <= ordered.keys()]
        if not ready:
            raise ValueError("feature groups read each other in a circle")
        for each in ready:
            ordered[each] = None
            del waiting[each]
    return list(ordered)


def note_version_users(
    session: Session, versions: Iterable[FeatureGroupVersionId], kind: str, user_id: str, name: str = ""
) -> None:
    """Says that these, and no other versions, are what `user_id` was made from, so that they are kept."""
    forget_version_user(session, kind, user_id)
    there = select(FeatureGroupVersion.feature_group_version).where(
        FeatureGroupVersion.feature_group_version.in_(list(versions))
    )
    for each in session.scalars(there).all():
        session.add(
            FeatureGroupVersionUser(feature_group_version=each, kind=kind, user_id=user_id, name=name or user_id)
        )
    session.flush()


def forget_version_user(session: Session, kind: str, user_id: str) -> None:
    """Takes back what was noted about it; for when it is deleted."""
    mine = (FeatureGroupVersionUser.kind == kind, FeatureGroupVersionUser.user_id == user_id)
    session.execute(delete(FeatureGroupVersionUser).where(*mine))


def version_users(
    session: Session, versions: Sequence[FeatureGroupVersionId]
) -> dict[FeatureGroupVersionId, list[FeatureGroupVersionUser]]:
    """What stands on each of those versions; absent where nothing does."""
    rows = select(FeatureGroupVersionUser).where(FeatureGroupVersionUser.feature_group_version.in_(versions))
    found: dict[FeatureGroupVersionId, list[FeatureGroupVersionUser]] = {}
    for user in session.scalars(rows.order_by(FeatureGroupVersionUser.kind, FeatureGroupVersionUser.name)):
        found.setdefault(user.feature_group_version, []).append(user)
    return found


def named_users(session: Session, versions: Sequence[FeatureGroupVersionId], most: int = 20) -> str:
    """What stands on those versions, as words for a caller; empty where nothing does."""
    found = version_users(session, versions).values()
    words = list(dict.fromkeys(f"{user.kind} {user.user_id} ({user.name})" for users in found for user in users))
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def _in_brackets(user: FeatureGroupUser) -> str:
    return "" if user.name == user.user_id else f" ({user.user_id})"

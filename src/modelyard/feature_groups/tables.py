"""Finds feature groups and versions for a caller: always within the caller's organisation, always with a good sentence.

Another organisation's id looks exactly like one that never was.
"""

import difflib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import QueryableAttribute, Session, load_only

from modelyard.errors import DataNotFoundError, InvalidParameterError
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, VersionStatus
from modelyard.ids import FeatureGroupId, FeatureGroupVersionId, OrganizationId


def get_feature_group(
    session: Session, organization_id: OrganizationId, feature_group_id: FeatureGroupId
) -> FeatureGroup:
    """The group of that id; DataNotFoundError if the organisation has none."""
    group = session.get(FeatureGroup, feature_group_id)
    if group is None or group.organization_id != organization_id:
        raise DataNotFoundError(f"Feature group {feature_group_id} was not found")
    return group


def get_feature_groups(
    session: Session, organization_id: OrganizationId, feature_group_ids: Sequence[FeatureGroupId]
) -> list[FeatureGroup]:
    """The groups of those ids, in that order; DataNotFoundError names the first that isn't there."""
    return [get_feature_group(session, organization_id, each) for each in feature_group_ids]


def find_by_table_name(session: Session, organization_id: OrganizationId, name: str) -> FeatureGroup | None:
    """The group whose table has exactly that name."""
    wanted = (FeatureGroup.organization_id == organization_id, FeatureGroup.table_name == name)
    return session.scalars(select(FeatureGroup).where(*wanted)).first()


def get_by_table_names(session: Session, organization_id: OrganizationId, names: Sequence[str]) -> list[FeatureGroup]:
    """The groups of those tables, in that order; InvalidParameterError names every unknown one and its nearest."""
    wanted = (FeatureGroup.organization_id == organization_id, FeatureGroup.table_name.in_(names))
    found = {group.table_name: group for group in session.scalars(select(FeatureGroup).where(*wanted))}
    unknown = [name for name in dict.fromkeys(names) if name not in found]
    if unknown:
        raise InvalidParameterError("; ".join(unknown_table(session, organization_id, name) for name in unknown))
    return [found[name] for name in names]


def unknown_table(session: Session, organization_id: OrganizationId, name: str) -> str:
    """The sentence about a table that isn't there, with the nearest one that is."""
    names = select(FeatureGroup.table_name).where(FeatureGroup.organization_id == organization_id)
    near = difflib.get_close_matches(name, session.scalars(names.limit(10_000)).all(), n=1)
    hint = f"; did you mean {near[0]}?" if near else "; listFeatureGroups shows the tables that are"
    return f"There is no table {name[:120]!r}{hint}"


def get_version(
    session: Session, organization_id: OrganizationId, feature_group_version: FeatureGroupVersionId
) -> FeatureGroupVersion:
    """The version of that id; DataNotFoundError if the organisation has none."""
    version = session.get(FeatureGroupVersion, feature_group_version)
    if version is None or version.organization_id != organization_id:
        raise DataNotFoundError(f"Feature group version {feature_group_version} was not found")
    return version


def newest_versions(
    session: Session,
    feature_group_ids: Sequence[FeatureGroupId],
    *statuses: VersionStatus,
    only: Sequence[QueryableAttribute[Any]] = (),
) -> dict[FeatureGroupId, FeatureGroupVersion]:
    """For each group its newest version in one of `statuses` (in any, if none is named); absent where it has none.

    Of columns beside the keys it reads those of `only`, where these are named; others are read when they are asked for.
    """
    among = FeatureGroupVersion.feature_group_id.in_(feature_group_ids)
    query = select(FeatureGroupVersion.feature_group_id, func.max(FeatureGroupVersion.number).label("number"))
    query = query.where(among, FeatureGroupVersion.status.in_(statuses)) if statuses else query.where(among)
    newest = query.group_by(FeatureGroupVersion.feature_group_id).subquery()
    rows = select(FeatureGroupVersion).join(
        newest,
        (FeatureGroupVersion.feature_group_id == newest.c.feature_group_id)
        & (FeatureGroupVersion.number == newest.c.number),
    )
    if only:
        rows = rows.options(load_only(FeatureGroupVersion.feature_group_id, *only))
    return {version.feature_group_id: version for version in session.scalars(rows)}


def newest_version(session: Session, group: FeatureGroup, *statuses: VersionStatus) -> FeatureGroupVersion | None:
    """The group's newest version in one of `statuses`."""
    return newest_versions(session, [group.feature_group_id], *statuses).get(group.feature_group_id)

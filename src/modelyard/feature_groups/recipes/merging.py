"""Which versions of its source a MERGE puts together, and the query that does it. Called by `generating`.

The versions are those that were complete when the source's version that it was given was: a merge that is made again
from the same version gives the same rows, as long as those versions are kept; and they are, since it is noted that the
merge stands on them.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.execution import RunContext
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.lineage import note_version_users
from modelyard.feature_groups.outcomes import Failure, TableVersion
from modelyard.feature_groups.recipes.reading import Merge, merge_sql, read_merge
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, VersionStatus

#: Versions that one query can read: so many open files fit into a message to a guest.
MOST_VERSIONS = 200


def plan_merge(
    run: RunContext, version: FeatureGroupVersion, source: TableVersion
) -> tuple[str, list[TableVersion]] | Failure:
    """The query in the engine's dialect, and the tables that it reads."""
    merge = read_merge(version.made_from.merge)
    with run.transaction() as session:
        found = _versions(session, source, merge)
        if len(found) > MOST_VERSIONS:
            return Failure(f"{len(found)} versions are too many to merge; at most {MOST_VERSIONS} can be (numVersions)")
        mine = session.get(FeatureGroupVersion, version.feature_group_version)
        if mine is not None:  # else it is a draft, of which nothing is kept
            merged = [each.feature_group_version for each in found]
            mine.merged_versions = list(merged)
            name = session.get_one(FeatureGroup, mine.feature_group_id).table_name
            note_version_users(session, merged, "feature group version", mine.feature_group_version, name)
        tables = [
            TableVersion(each.feature_group_id, each.feature_group_version, f"version {each.number}", each.manifest)
            for each in found
        ]
        made = {f"version {each.number}": each.created_at.strftime("%Y-%m-%d %H:%M:%S.%f") for each in found}
    return merge_sql(merge, made), tables


def with_query(definition: Definition, engine_sql: str) -> Definition:
    """The definition as one of a query, for the run that makes it."""
    return Definition(inputs=definition.inputs, engine_sql=engine_sql)


def _versions(session: Session, source: TableVersion, merge: Merge) -> list[FeatureGroupVersion]:
    """The source's complete versions up to the one that was given, oldest first."""
    given = session.get_one(FeatureGroupVersion, source.feature_group_version)
    query = select(FeatureGroupVersion).where(
        FeatureGroupVersion.feature_group_id == given.feature_group_id,
        FeatureGroupVersion.status == VersionStatus.COMPLETE,
        FeatureGroupVersion.number <= given.number,
    )
    newest_first = query.order_by(FeatureGroupVersion.number.desc())
    limit = merge.num_versions if merge.merge_mode == "LAST_N" else 0
    return list(session.scalars(newest_first.limit(limit or MOST_VERSIONS + 1)))[::-1]

"""Snapshots: a group that holds one version of another for ever. It has that version's rows, the same blobs."""

from modelyard.actions import Call
from modelyard.datasets.creating import LEAST_VERSIONS
from modelyard.feature_groups import versions
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.downloads import table_of
from modelyard.feature_groups.lineage import note_user, note_version_users
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, SourceType
from modelyard.feature_groups.registering import check_table_name
from modelyard.ids import FeatureGroupId, new_id

#: What the source and its version are told that stands on them.
KIND = "snapshot"


def make_snapshot(call: Call, version: FeatureGroupVersion, table_name: str) -> FeatureGroup:
    """The new group with its one version, COMPLETE; an error if the name is taken or the version has no rows."""
    check_table_name(call.session, call.organization_id, table_name)
    table = table_of(version, f"Feature group version {version.feature_group_version}")
    source = call.session.get_one(FeatureGroup, version.feature_group_id)
    definition = Definition(snapshot_of=version.feature_group_version)
    group = FeatureGroup(
        feature_group_id=FeatureGroupId(new_id()),
        organization_id=call.organization_id,
        table_name=table_name,
        source_type=SourceType.SNAPSHOT,
        description=f"Version {version.number} of {source.table_name}",
        definition=versions.to_json(definition),
        definition_digest=definition.digest,
        version_limit=LEAST_VERSIONS,
        last_version_number=0,
        created_at=call.clock(),
        updated_at=call.clock(),
    )
    call.session.add(group)
    call.session.flush()
    made = versions.write_version_from_table(call.session, group, table)
    made.parents = {source.feature_group_id: version.feature_group_version}
    note_user(call.session, source.feature_group_id, KIND, group.feature_group_id, table_name)
    stood_on = [version.feature_group_version]
    note_version_users(call.session, stood_on, KIND, group.feature_group_id, table_name)
    return group

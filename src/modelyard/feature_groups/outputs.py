"""Feature groups that others fill: a batch prediction's results, a version for each of its runs.

They have no definition to run; `versions.write_version_from_table` gives them their rows.
"""

from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.datasets.creating import LEAST_VERSIONS
from modelyard.feature_groups import versions
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.records import FeatureGroup, SourceType
from modelyard.feature_groups.registering import check_table_name
from modelyard.ids import FeatureGroupId, OrganizationId, new_id


def make_output_group(session: Session, organization_id: OrganizationId, table_name: str) -> FeatureGroup:
    """A new group without rows; AlreadyExistsError where the name is taken."""
    check_table_name(session, organization_id, table_name)
    definition, now = Definition(), utc_now()
    group = FeatureGroup(
        feature_group_id=FeatureGroupId(new_id()),
        organization_id=organization_id,
        table_name=table_name,
        source_type=SourceType.BATCH_PREDICTION,
        definition=versions.to_json(definition),
        definition_digest=definition.digest,
        use_gpu=False,
        use_original_csv_names=False,
        version_limit=LEAST_VERSIONS,
        last_version_number=0,
        created_at=now,
        updated_at=now,
    )
    session.add(group)
    session.flush()
    return group

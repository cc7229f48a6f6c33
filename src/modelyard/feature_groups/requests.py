"""Asks for a new version of a group: at once where its rows are there already, else by a run."""

from sqlalchemy.orm import Session

from modelyard.errors import ConflictError
from modelyard.execution import enqueue
from modelyard.execution.agents import largest_agent
from modelyard.feature_groups import versions
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, SourceType
from modelyard.feature_groups.sizes import demand_of
from modelyard.feature_groups.sources import import_state
from modelyard.settings import Settings

MATERIALIZE = "feature_groups.materialize"


def request_version(session: Session, settings: Settings, group: FeatureGroup) -> FeatureGroupVersion:
    """A new version of the group, in the caller's transaction: COMPLETE for a dataset that has rows, else PENDING."""
    if group.source_type == SourceType.BATCH_PREDICTION:
        raise ConflictError(f"{group.table_name} is written by batch predictions; start one to give it a new version")
    if group.source_type == SourceType.SNAPSHOT:
        raise ConflictError(f"{group.table_name} is a snapshot: it has one version, for ever")
    if group.source_type == SourceType.DATASET and group.is_given:
        state = import_state(session, group)
        if state.table is not None:
            return versions.write_version_from_table(session, group, state.table, dataset_version=state.dataset_version)
        if not state.is_running:
            raise ConflictError(f"{group.table_name} can't be materialized: {state.reason}")
    version = versions.add_version(session, group)
    # A GPU that no agent has is not waited for: the run then says so.
    gpus = min(int(group.use_gpu), largest_agent(session, settings).gpus)
    version.run_id = enqueue(
        session,
        MATERIALIZE,
        {"featureGroupVersion": version.feature_group_version},
        target=version.feature_group_version,
        organization_id=group.organization_id,
        demand=demand_of(settings, group.cpu_size, group.memory_gib, gpus=gpus),
    )
    session.flush()
    return version

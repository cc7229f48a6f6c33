"""What a feature group would hold if it were made from other datasets: for predictions on rows that came later.

Batch predictions call it. Every definition between the replaced datasets and the group is run anew over the other
tables, in the same sandbox and with the same sizes; nothing of it becomes a version of any group. What does not
stand on a replaced dataset is taken as it is, materialised first where it is outdated.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from modelyard.execution import RunContext
from modelyard.feature_groups.functions.code import Code
from modelyard.feature_groups.generating import generate
from modelyard.feature_groups.lineage import Edges, ancestors, in_order
from modelyard.feature_groups.materialize import MaterializationFailed, ensure_versions
from modelyard.feature_groups.outcomes import Failure, TableVersion
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion
from modelyard.feature_groups.sources import find_group
from modelyard.feature_groups.versions import to_json
from modelyard.ids import DatasetId, FeatureGroupId, FeatureGroupVersionId, OrganizationId
from modelyard.storage import Table


def evaluate(run: RunContext, feature_group_id: FeatureGroupId, replace: Mapping[DatasetId, DatasetId]) -> Table:
    """The rows of the group with each dataset of `replace` swapped for the one that it maps to.

    Raises MaterializationFailed naming what could not be made, or a dataset that the group does not read.
    """
    with run.read() as session:
        edges = ancestors(session, [feature_group_id])
        swapped = _find_swapped(session, edges, replace)
    order = in_order(edges)
    changed = set(swapped)
    for each in order:
        if edges[each] & changed:
            changed.add(each)
    kept = [each for each in order if each not in changed and _is_read_by(edges, each, changed)]
    tables = dict(zip(kept, ensure_versions(run, kept), strict=True))
    for each in order:
        if each in swapped:
            tables[each] = _swap(run, each, swapped[each])
        elif each in changed:
            tables[each] = _make(run, each, tables)
    if feature_group_id not in tables:
        [tables[feature_group_id]] = ensure_versions(run, [feature_group_id])
    return tables[feature_group_id].table


def datasets_of(session: Session, feature_group_id: FeatureGroupId) -> set[DatasetId]:
    """The datasets that the group's rows come from, through however many groups."""
    groups = (session.get(FeatureGroup, each) for each in ancestors(session, [feature_group_id]))
    return {group.dataset_id for group in groups if group is not None and group.dataset_id is not None}


def find_dataset_group(session: Session, organization_id: OrganizationId, dataset_id: str) -> FeatureGroup | None:
    """The group that holds the dataset's rows, if the organisation has that dataset."""
    group = find_group(session, dataset_id)
    return group if group is not None and group.organization_id == organization_id else None


def _find_swapped(
    session: Session, edges: Edges, replace: Mapping[DatasetId, DatasetId]
) -> dict[FeatureGroupId, FeatureGroupId]:
    """Which dataset's group is taken for which."""
    swapped = {}
    for old, new in replace.items():
        group, other = find_group(session, old), find_group(session, new)
        if other is None:
            raise MaterializationFailed(f"Dataset {new}, which is to take the place of {old}, was deleted")
        if group is None or group.feature_group_id not in edges:
            raise MaterializationFailed(f"Dataset {old} is to be replaced by {new}, but the input does not read it")
        if not group.is_given:
            raise MaterializationFailed(
                f"Dataset {old} has a feature expression, so it can't be replaced; put the expression into a SQL group"
            )
        swapped[group.feature_group_id] = other.feature_group_id
    return swapped


def _is_read_by(edges: Edges, feature_group_id: FeatureGroupId, changed: set[FeatureGroupId]) -> bool:
    return any(feature_group_id in edges[each] for each in changed)


def _swap(run: RunContext, feature_group_id: FeatureGroupId, other_id: FeatureGroupId) -> TableVersion:
    """The other group's newest rows under the name of the group that queries and functions know."""
    [other] = ensure_versions(run, [other_id])
    with run.read() as session:
        name = session.get_one(FeatureGroup, feature_group_id).table_name
    return TableVersion(feature_group_id, other.feature_group_version, name, other.table)


def _make(
    run: RunContext, feature_group_id: FeatureGroupId, tables: Mapping[FeatureGroupId, TableVersion]
) -> TableVersion:
    with run.read() as session:
        group = session.get_one(FeatureGroup, feature_group_id)
        draft = _draft(session, group)
        inputs: Sequence[TableVersion] = [tables[each.feature_group_id] for each in group.made_from.inputs]
        name = group.table_name
    outcome = generate(run, draft, inputs, name)
    if isinstance(outcome, Failure):
        raise MaterializationFailed(
            f"Feature group {name} could not be made from the datasets of the prediction: {outcome.error}"
        )
    return TableVersion(feature_group_id, draft.feature_group_version, name, outcome.table)


def _draft(session: Session, group: FeatureGroup) -> FeatureGroupVersion:
    """A version that no session ever sees: the way in which `generate` is told what to make."""
    code = Code(session, [group])
    return FeatureGroupVersion(
        feature_group_version=FeatureGroupVersionId(""),
        feature_group_id=group.feature_group_id,
        definition=to_json(code.resolve(group)),
        pins=code.pins(group).as_json,
        cpu_size=group.cpu_size,
        memory_gib=group.memory_gib,
        use_gpu=group.use_gpu,
    )

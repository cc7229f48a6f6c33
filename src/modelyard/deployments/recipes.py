"""How rows of datasets become rows of a model's first training table: queries that a replica can run for one call.

`servable` puts a recipe into what a replica is told; `sandbox/guest/from_datasets.py` follows it. A table that is made
with more than queries has none, and the replica says why. Definitions are those of the training, as far as its versions
are there, and else what the feature groups say now.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.datasets.records import Dataset
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, VersionStatus
from modelyard.ids import FeatureGroupId, FeatureGroupVersionId
from modelyard.models.records import ModelVersion

#: Queries that one recipe may hold.
_MOST_STEPS = 100


class _NoRecipe(Exception):
    """Why there is none; a sentence for whoever asks for a prediction."""


def recipe_of(session: Session, version: ModelVersion) -> JsonObject:
    """`datasets` (name, id, columns), `steps` (name, query, inputs), the `table` that they lead to; or a `reason`."""
    if not version.feature_group_ids:
        return {"reason": "The model was trained without tables, so no dataset leads to it."}
    recipe = _Recipe(session)
    try:
        first = next(iter(version.feature_group_versions or []), None)
        recipe.add(FeatureGroupId(version.feature_group_ids[0]), first)
    except _NoRecipe as why:
        return {"reason": str(why)}
    return {"datasets": recipe.datasets, "steps": recipe.steps, "table": version.training_input_tables[0]}


class _Recipe:
    """Collects what leads to one table, parents first."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.datasets: list[JsonObject] = []
        self.steps: list[JsonObject] = []
        self._known: set[str] = set()

    def add(self, feature_group_id: FeatureGroupId, version_id: str | None) -> None:
        """Adds the group, after all that it reads."""
        group = self._session.get(FeatureGroup, feature_group_id)
        if group is None:
            raise _NoRecipe(f"Feature group {feature_group_id}, which the model was trained on, was deleted.")
        if group.table_name in self._known:
            return
        self._known.add(group.table_name)
        version = self._session.get(FeatureGroupVersion, FeatureGroupVersionId(version_id)) if version_id else None
        definition = version.made_from if version is not None else group.made_from
        if group.dataset_id is not None and definition.engine_sql is None:
            self._add_dataset(group, version)
            return
        self._check(group, definition)
        for each in definition.inputs:
            parents = (version.parents or {}) if version is not None else {}
            self.add(each.feature_group_id, parents.get(each.feature_group_id))
        inputs = {each.table_name: self._name(each.feature_group_id) for each in definition.inputs}
        self.steps.append({"name": group.table_name, "query": definition.engine_sql, "inputs": inputs})
        if len(self.steps) > _MOST_STEPS:
            raise _NoRecipe(f"More than {_MOST_STEPS} queries lead from datasets to the model's table.")

    def _add_dataset(self, group: FeatureGroup, version: FeatureGroupVersion | None) -> None:
        dataset = self._session.get(Dataset, group.dataset_id)
        if version is None or version.table is None:
            version = self._newest(group)
        if dataset is None or version is None:
            raise _NoRecipe(f"Of dataset {group.table_name} there are no columns to go by.")
        columns = [[column.name, column.type] for column in version.manifest.columns]
        self.datasets.append({"name": group.table_name, "id": dataset.dataset_id, "columns": columns})

    def _newest(self, group: FeatureGroup) -> FeatureGroupVersion | None:
        mine = (FeatureGroupVersion.feature_group_id == group.feature_group_id,)
        complete = (*mine, FeatureGroupVersion.status == VersionStatus.COMPLETE)
        newest = select(FeatureGroupVersion).where(*complete).order_by(FeatureGroupVersion.number.desc())
        return self._session.scalars(newest.limit(1)).first()

    def _check(self, group: FeatureGroup, definition: Definition) -> None:
        if definition.source_code is not None or definition.python_function is not None:
            raise _NoRecipe(f"Feature group {group.table_name} is made by a Python function, which no call runs.")
        if definition.engine_sql is None or definition.online_table_id is not None or definition.merge:
            raise _NoRecipe(f"Feature group {group.table_name} is not made by a query over datasets.")
        if definition.dataset_id is not None:
            raise _NoRecipe(f"Dataset {group.table_name} has a feature expression, which no call runs.")

    def _name(self, feature_group_id: FeatureGroupId) -> str:
        return self._session.get_one(FeatureGroup, feature_group_id).table_name

"""What the API asks of models that algorithms of its service train, as far as it means something for a Python model.

Such a model is its own one algorithm; what means nothing for it is refused with a reason.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from modelyard.actions import Call, action
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError, NotReadyError
from modelyard.execution import read_logs
from modelyard.feature_groups.materialize import TableVersion
from modelyard.feature_groups.schema import features, schema_shape
from modelyard.feature_groups.tables import get_by_table_names, get_feature_groups
from modelyard.feature_groups.wire import SchemaShape
from modelyard.ids import FeatureGroupId, ModelId, ModelVersionId, ProjectId
from modelyard.models import describe
from modelyard.models.definition import TIMEOUT, check_training_config
from modelyard.models.importance.targets import KEY as TARGET
from modelyard.models.importance.targets import named_target
from modelyard.models.records import Model, ModelVersion
from modelyard.models.reproduction.seeds import KEY as SEED
from modelyard.models.versions import check_complete, get_model, get_model_version, tables_of
from modelyard.models.wire import ModelShape
from modelyard.projects.access import get_project

_PREFIX = "modelyard: "


class DataPrepLogsShape(msgspec.Struct, frozen=True, kw_only=True):
    """What was prepared for a training. Source: the SDK's `data_prep_logs.py`."""

    logs: list[str]


class VersionSchemaShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A table of a training. Source: the SDK's `model_version_feature_group_schema.py`."""

    feature_group_id: str
    feature_group_name: str
    schema: list[SchemaShape]


class TrainFunctionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a train function is called. Source: the SDK's `custom_train_function_info.py`."""

    #: Table -> parameter; tables are positional, so any name fits.
    training_data_parameter_name_mapping: dict[str, str]
    schema_mappings: dict[str, Any]
    train_data_parameter_to_feature_group_ids: dict[str, str]
    training_config: dict[str, Any]


class TrainingTypeShape(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of model that can be deployed."""

    label: str
    value: str


class TrainingOptionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A key of the training config that the platform heeds. Source: the SDK's `training_config_options.py`."""

    name: str
    data_type: str
    description: str
    value: int | float | str | None = None
    default: float | None = None
    required: bool = False
    needs_refresh: bool = False


@action("GET", errors=(DataNotFoundError,))
def get_training_data_logs(call: Call, *, model_version: ModelVersionId) -> list[DataPrepLogsShape]:
    """What was done before `train` was called: packages, tables with their versions and rows, what did not fit."""
    version = get_model_version(call.session, call.organization_id, model_version)
    printed = read_logs(call.session, version.run_id).stdout.splitlines()
    said = [line.removeprefix(_PREFIX) for line in printed if line.startswith(_PREFIX)]
    said += [
        f"table {each.table_name}: version {each.feature_group_version}, {each.table.rows:,} rows"
        for each in _tables(call, version)
    ]
    return [DataPrepLogsShape(logs=said)]


@action("GET", errors=(DataNotFoundError, NotReadyError, ConflictError))
def get_feature_group_schemas_for_model_version(
    call: Call, *, model_version: ModelVersionId
) -> list[VersionSchemaShape]:
    """The columns of the tables that a version was trained on, as they were."""
    version = get_model_version(call.session, call.organization_id, model_version)
    if version.feature_group_versions is None:
        raise NotReadyError(f"Model version {model_version} has no tables yet; it is {version.status}.")
    return [
        VersionSchemaShape(
            feature_group_id=each.feature_group_id,
            feature_group_name=each.table_name,
            schema=[schema_shape(feature) for feature in features(each.table.columns, each.table_name)],
        )
        for each in tables_of(call.session, version)
    ]


@action("POST", errors=(DataNotFoundError, InvalidParameterError), writes=False)
def get_custom_train_function_info(
    call: Call,
    *,
    project_id: ProjectId,
    feature_group_names_for_training: Annotated[list[str] | None, "Tables, in the order of the parameters."] = None,
    training_data_parameter_name_override: Annotated[dict[str, str] | None, "Table -> parameter."] = None,
    training_config: dict[str, Any] | None = None,
    custom_algorithm_config: Annotated[dict[str, Any] | None, "Further keys of the config."] = None,
) -> TrainFunctionShape:
    """How to call a train function locally as a training would: which table goes to which parameter, and the config.

    A Python model takes its tables in order, so each goes to a parameter of its own name unless that is overridden.
    """
    get_project(call.session, call.organization_id, project_id)
    names, override = feature_group_names_for_training or [], training_data_parameter_name_override or {}
    if unknown := [name for name in override if name not in names]:
        raise InvalidParameterError(f"trainingDataParameterNameOverride names {unknown[0][:100]!r}, which is no table.")
    groups = get_by_table_names(call.session, call.organization_id, names) if names else []
    parameters = {name: override.get(name, name) for name in names}
    ids = {parameters[name]: group.feature_group_id for name, group in zip(names, groups, strict=True)}
    return TrainFunctionShape(
        training_data_parameter_name_mapping=parameters,
        schema_mappings={each: {} for each in parameters.values()},
        train_data_parameter_to_feature_group_ids=dict(ids),
        training_config={**(check_training_config(training_config) or {}), **(custom_algorithm_config or {})},
    )


@action("PATCH", errors=(DataNotFoundError, InvalidParameterError))
def set_model_prediction_params(
    call: Call,
    *,
    model_id: ModelId,
    prediction_config: Annotated[dict[str, Any], "Keyword arguments of `predict`, for calls that do not give them."],
) -> ModelShape:
    """Sets arguments that predictions of the model get where neither call nor deployment says otherwise.

    Batches and replicas that start from now on use them: a running deployment, from its next start or switch.
    """
    model = get_model(call.session, call.organization_id, model_id)
    if bad := [name for name in prediction_config if not name.isidentifier() or name in ("queryData", "model")]:
        raise InvalidParameterError(f"predictionConfig has {bad[0][:100]!r}, which no parameter can be called.")
    model.prediction_config = prediction_config
    call.session.flush()
    return describe.describe_model(call.session, model)


@action("POST", errors=(DataNotFoundError, InvalidParameterError, ConflictError, NotReadyError))
def set_model_objective(
    call: Call,
    *,
    model_version: ModelVersionId,
    metric: Annotated[str | None, "A metric of the version; none: all of them again."] = None,
) -> None:
    """Sets the one metric by which automatic deployments compare the model's new versions with the deployed one.

    A Python model has one algorithm, so there is no other choice that the metric could make.
    """
    version = get_model_version(call.session, call.organization_id, model_version)
    check_complete(version, "judged by a metric")
    known = sorted(version.metrics or {})
    if metric is not None and metric not in known:
        names = ", ".join(known) or "none; `train` writes them to metrics.json"
        raise InvalidParameterError(f"metric is {metric[:100]!r}; the metrics of the version are: {names}.")
    call.session.get_one(Model, version.model_id, with_for_update=True).objective_metric = metric


@action("POST", errors=(DataNotFoundError, InvalidParameterError))
def set_default_model_algorithm(
    call: Call, *, model_id: ModelId, algorithm: str | None = None, data_cluster_type: str | None = None
) -> None:
    """Accepts a model's own algorithm, which is its default already; it has no other, and no data clusters."""
    _check_algorithm(get_model(call.session, call.organization_id, model_id), algorithm)
    if data_cluster_type:
        raise InvalidParameterError("dataClusterType can't be given: a Python model has no data clusters.")


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def get_model_training_types_for_deployment(
    call: Call, *, model_id: ModelId, model_version: ModelVersionId | None = None, algorithm: str | None = None
) -> list[TrainingTypeShape]:
    """The one kind of model that can be deployed: the model itself."""
    model = get_model(call.session, call.organization_id, model_id)
    if model_version is not None:
        version = get_model_version(call.session, call.organization_id, model_version)
        if version.model_id != model_id:
            raise DataNotFoundError(f"Model version {model_version} was not found in model {model_id}")
    _check_algorithm(model, algorithm)
    return [TrainingTypeShape(**each) for each in describe.TRAINED_TYPES]


@action("POST", errors=(DataNotFoundError,), writes=False)
def get_training_config_options(
    call: Call,
    *,
    project_id: ProjectId,
    feature_group_ids: list[FeatureGroupId] | None = None,
    for_retrain: bool = False,
    current_training_config: dict[str, Any] | None = None,
) -> list[TrainingOptionShape]:
    """The keys of a training config that the platform heeds; all others are handed to `train` as they are."""
    del for_retrain
    get_project(call.session, call.organization_id, project_id)
    get_feature_groups(call.session, call.organization_id, feature_group_ids or [])
    now = current_training_config or {}
    return [
        TrainingOptionShape(
            name=TIMEOUT, data_type="DECIMAL", value=_number(now.get(TIMEOUT)),
            default=call.settings.training_timeout_s / 60, description="Minutes after which the training is stopped.",
        ),
        TrainingOptionShape(
            name=SEED, data_type="INTEGER", value=_number(now.get(SEED)),
            description="Seed of the random generators, 0 to 4294967295; without one, a fresh one is chosen and kept.",
        ),
        TrainingOptionShape(
            name=TARGET, data_type="STRING", value=named_target(now),
            description="Name of the column that is predicted; feature importance is measured by it.",
        ),
    ]  # fmt: skip


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) else None


def _tables(call: Call, version: ModelVersion) -> Sequence[TableVersion]:
    try:
        return tables_of(call.session, version) if version.feature_group_versions else ()
    except ConflictError:
        return ()  # one of them was deleted since


def _check_algorithm(model: Model, algorithm: str | None) -> None:
    if algorithm and algorithm not in (model.model_id, model.name):
        raise InvalidParameterError(
            f"algorithm is {algorithm[:100]!r}; the model's one algorithm is its own, {model.model_id} ({model.name})"
        )

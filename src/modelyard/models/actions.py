"""Models: create, change, train, look, delete. Source: the page "updatePythonModel" and the SDK's `client.py`."""

from typing import Annotated, Any

from sqlalchemy import select, tuple_

from modelyard.actions import Call, action, while_status
from modelyard.errors import (
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    NotReadyError,
)
from modelyard.execution import After
from modelyard.feature_groups import lineage
from modelyard.feature_groups.tables import get_feature_groups
from modelyard.ids import DeploymentId, FeatureGroupId, ModelId, ModelVersionId, ProjectId
from modelyard.models import describe, removal, revisions
from modelyard.models.answering import answer
from modelyard.models.code.receiving import check_arrived
from modelyard.models.definition import Changes, check_flag, check_training_config
from modelyard.models.dry_runs.validations import ensure_valid
from modelyard.models.events import ModelEvents
from modelyard.models.heads import find_head
from modelyard.models.records import Model, ModelVersion
from modelyard.models.retrain import Overrides, start_training
from modelyard.models.sizes import CpuSize, check_memory
from modelyard.models.trainings import function_logs, model_metrics
from modelyard.models.versions import get_model, get_model_version, newest_complete
from modelyard.models.wire import FunctionLogsShape, ModelMetricsShape, ModelShape, ModelVersionShape
from modelyard.projects.access import get_project, note_occupant
from modelyard.projects.actions import check_name
from modelyard.source_code.requirements import parse_requirements
from modelyard.source_code.users import rename_user

#: Models whose versions and sources are read by one query; databases limit how many ids it may name.
READ_AT_ONCE = 1_000
SOURCE = "A whole Python source file, with the functions named in the other parameters at its top level."
CLEARING = 'An empty text (`""`) takes the function away.'
CONFIG = "Handed to `train` as `training_config`; TIMEOUT_MINUTES in it limits the training's time."
Requirements = Annotated[
    list[Any] | dict[str, Any] | None,
    "Packages for the code, as `['numpy==1.2.3']` or as a mapping from name to version.",
]
Config = Annotated[dict[str, Any] | None, CONFIG]
Cpu = Annotated[CpuSize | None, "Cores for the training: small is 1, medium 2, large 4."]
Memory = Annotated[
    int | None, "Limit of the training's memory in GB, 1 to 1024. Without one: all that the machine has."
]
ThreadSafe = Annotated[bool | int | None, "True if `predict` may be called several times at once in one process."]


@action(
    "POST",
    errors=(DataNotFoundError, InvalidEnumParameterError, InvalidParameterError, ConflictError),
    own_transaction=True,
)
def create_model_from_python(
    call: Call,
    *,
    project_id: ProjectId,
    function_source_code: Annotated[str, SOURCE],
    train_function_name: Annotated[str, "Function that is given the tables, in order, and returns the model."],
    training_input_tables: Annotated[list[str] | None, "Names of the tables that `train` is given."] = None,
    predict_function_name: Annotated[str | None, "Function of one query: `predict(model, query)`."] = None,
    predict_many_function_name: Annotated[str | None, "Function of many queries at once, for batches."] = None,
    initialize_function_name: Annotated[str | None, "Function that prepares the model before it serves."] = None,
    name: Annotated[str | None, 'Name of the model; "<Project Name> Model" without one.'] = None,
    cpu_size: Cpu = None,
    memory: Memory = None,
    training_config: Config = None,
    exclusive_run: Annotated[bool, "Accepted; a Python model always trains by itself."] = False,
    package_requirements: Requirements = None,
    use_gpu: Annotated[bool, "Whether the training needs a GPU."] = False,
    is_thread_safe: ThreadSafe = None,
) -> ModelShape:
    """Makes a model from Python source and starts its first training; the answer's latestModelVersion is PENDING.

    The source is checked, not run: what can't work is refused with its line and column.
    """
    del exclusive_run
    changes = Changes(
        source=function_source_code,
        train_function_name=train_function_name,
        predict_function_name=predict_function_name,
        predict_many_function_name=predict_many_function_name,
        initialize_function_name=initialize_function_name,
        training_input_tables=training_input_tables or [],
        cpu_size=cpu_size,
        memory_gib=check_memory(memory),
        use_gpu=use_gpu,
        is_thread_safe=check_flag("isThreadSafe", is_thread_safe),
        package_requirements=parse_requirements(package_requirements),
        training_config=check_training_config(training_config),
    )
    made = revisions.create(call, project_id, None if name is None else check_name(name), changes)
    return answer(call, made, function_source_code)


@action(
    "POST",
    errors=(DataNotFoundError, InvalidEnumParameterError, ConflictError, InvalidParameterError, NotReadyError),
    own_transaction=True,
)
def update_python_model(
    call: Call,
    *,
    model_id: ModelId,
    function_source_code: Annotated[str | None, SOURCE] = None,
    train_function_name: str | None = None,
    predict_function_name: Annotated[str | None, CLEARING] = None,
    predict_many_function_name: Annotated[str | None, CLEARING] = None,
    initialize_function_name: Annotated[str | None, CLEARING] = None,
    training_input_tables: Annotated[list[str] | None, "An empty list (`[]`) leaves `train` without tables."] = None,
    cpu_size: Cpu = None,
    memory: Memory = None,
    package_requirements: Requirements = None,
    use_gpu: bool | None = None,
    is_thread_safe: ThreadSafe = None,
    training_config: Config = None,
) -> ModelShape | After:
    """Changes a Python model: what is given replaces what was, all else stays. Nothing is run.

    Every accepted call makes a new revision; versions that are trained already keep theirs. Train again
    with retrainModel.
    """
    changes = Changes(
        source=function_source_code,
        train_function_name=train_function_name,
        predict_function_name=predict_function_name,
        predict_many_function_name=predict_many_function_name,
        initialize_function_name=initialize_function_name,
        training_input_tables=training_input_tables,
        cpu_size=cpu_size,
        memory_gib=check_memory(memory),
        use_gpu=use_gpu,
        is_thread_safe=check_flag("isThreadSafe", is_thread_safe),
        package_requirements=None if package_requirements is None else parse_requirements(package_requirements),
        training_config=check_training_config(training_config),
    )
    if call.settings.validate_updates and (waits := ensure_valid(call, model_id, changes)) is not None:
        return waits
    return answer(call, revisions.revise(call, model_id, changes), changes.source)


@action("PATCH", errors=(DataNotFoundError, InvalidParameterError, ConflictError, NotReadyError), own_transaction=True)
def set_model_training_config(
    call: Call,
    *,
    model_id: ModelId,
    training_config: Annotated[dict[str, Any], CONFIG],
    feature_group_ids: Annotated[list[FeatureGroupId] | None, "Feature groups that `train` is given, in order."] = None,
) -> ModelShape:
    """Changes the training config of a model, and its tables where they are given; makes a new revision."""
    tables = None
    if feature_group_ids is not None:
        groups = get_feature_groups(call.session, call.organization_id, feature_group_ids)
        tables = [group.table_name for group in groups]
    changes = Changes(training_config=check_training_config(training_config), training_input_tables=tables)
    return answer(call, revisions.revise(call, model_id, changes), changes.source)


@action("POST", errors=(DataNotFoundError, InvalidEnumParameterError, InvalidParameterError, NotReadyError))
def retrain_model(
    call: Call,
    *,
    model_id: ModelId,
    deployment_ids: Annotated[list[DeploymentId] | None, "Deployments that the new version shall go to."] = None,
    feature_group_ids: Annotated[list[FeatureGroupId] | None, "Feature groups for this training alone."] = None,
    custom_algorithms: list[Any] | None = None,
    builtin_algorithms: list[Any] | None = None,
    custom_algorithm_configs: dict[str, Any] | None = None,
    cpu_size: Cpu = None,
    memory: Memory = None,
    training_config: Config = None,
    algorithm_training_configs: list[Any] | None = None,
) -> ModelShape:
    """Trains the newest revision of the model; the answer's latestModelVersion is PENDING.

    Tables, sizes and config that are given hold for this training alone. A Python model is its own and only algorithm,
    so the parameters about algorithms must be empty.
    """
    _refuse_algorithms(
        customAlgorithms=custom_algorithms,
        builtinAlgorithms=builtin_algorithms,
        customAlgorithmConfigs=custom_algorithm_configs,
        algorithmTrainingConfigs=algorithm_training_configs,
    )
    model, _ = find_head(call.session, call.organization_id, model_id)
    check_arrived(call.session, model)
    for listener in call.parts.get(ModelEvents).training_asked if deployment_ids else []:
        listener(call.session, model, deployment_ids or [])
    overrides = Overrides(
        feature_group_ids=feature_group_ids,
        cpu_size=cpu_size,
        memory_gib=check_memory(memory),
        training_config=check_training_config(training_config),
    )
    start_training(
        call.session,
        call.settings,
        model_id,
        deployment_ids=deployment_ids or [],
        overrides=overrides,
        user_id=call.principal.user_id,
    )
    return describe.describe_model(call.session, model)


@action("GET", errors=(DataNotFoundError,))
def describe_model(
    call: Call,
    *,
    model_id: ModelId,
    wait_for_full_automl: Annotated[bool | None, "Accepted; a Python model has one algorithm to wait for."] = None,
) -> ModelShape:
    """One model, with its newest version."""
    del wait_for_full_automl
    return describe.describe_model(call.session, get_model(call.session, call.organization_id, model_id))


@action("GET", errors=(DataNotFoundError,), under_way=while_status("PENDING", "TRAINING"))
def describe_model_version(
    call: Call,
    *,
    model_version: ModelVersionId,
    wait_for_full_automl: Annotated[bool | None, "Accepted; a Python model has one algorithm to wait for."] = None,
) -> ModelVersionShape:
    """One version of a model."""
    del wait_for_full_automl
    version = get_model_version(call.session, call.organization_id, model_version)
    return describe.describe_version(call.session, version, call.clock())


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_models(
    call: Call,
    *,
    project_id: ProjectId,
    limit: Annotated[
        int | None, "Most models to give; all of them without one, as the SDK knows no pages here."
    ] = None,
    start_after_id: Annotated[ModelId | None, "The model after which the list begins."] = None,
) -> list[ModelShape]:
    """The models of a project, oldest first. A source over 64 KiB is left out here; describeModel shows it."""
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1.")
    get_project(call.session, call.organization_id, project_id)
    query = select(Model).where(Model.project_id == project_id)
    if start_after_id is not None:
        after = get_model(call.session, call.organization_id, start_after_id)
        query = query.where(tuple_(Model.created_at, Model.model_id) > (after.created_at, after.model_id))
    found = call.session.scalars(query.order_by(Model.created_at, Model.model_id).limit(limit)).all()
    return [
        each
        for start in range(0, len(found), READ_AT_ONCE)
        for each in describe.describe_models(call.session, found[start : start + READ_AT_ONCE], listing=True)
    ]


@action("GET", errors=(DataNotFoundError, InvalidParameterError))
def list_model_versions(
    call: Call,
    *,
    model_id: ModelId,
    limit: Annotated[int | None, "Most versions to give."] = None,
    start_after_version: Annotated[ModelVersionId | None, "The version after which the list begins."] = None,
) -> list[ModelVersionShape]:
    """The versions of a model, newest first. A source over 64 KiB is left out here; describeModelVersion shows it."""
    if limit is not None and limit < 1:
        raise InvalidParameterError(f"limit is {limit}; it must be at least 1.")
    get_model(call.session, call.organization_id, model_id)
    query = select(ModelVersion).where(ModelVersion.model_id == model_id).options(*describe.WITHOUT_RESULTS)
    if start_after_version is not None:
        after = get_model_version(call.session, call.organization_id, start_after_version)
        query = query.where(ModelVersion.number < after.number)
    found = call.session.scalars(query.order_by(ModelVersion.number.desc()).limit(limit or call.settings.page_size))
    return describe.describe_versions(call.session, found.all(), listing=True)


@action("GET", errors=(DataNotFoundError,))
def get_training_logs(
    call: Call,
    *,
    model_version: ModelVersionId,
    stdout: Annotated[bool, "Whether to give what was printed."] = False,
    stderr: Annotated[bool, "Whether to give what was printed to stderr."] = False,
) -> list[FunctionLogsShape]:
    """What the training printed so far, and the user's own traceback if it failed. Readable while it trains."""
    version = get_model_version(call.session, call.organization_id, model_version)
    return [function_logs(call.session, version, stdout=stdout, stderr=stderr)]


@action("GET", errors=(DataNotFoundError, NotReadyError))
def get_model_metrics(
    call: Call,
    *,
    model_id: ModelId,
    model_version: Annotated[ModelVersionId | None, "Without one: the newest complete version."] = None,
    return_graphs: Annotated[bool, "Accepted; there are no graphs."] = False,
    validation: Annotated[bool, "Accepted; the platform splits no data."] = False,
) -> ModelMetricsShape:
    """The metrics that `train` wrote to metrics.json and metrics.jsonl in its working directory.

    The steps of metrics.jsonl are there while the version is TRAINING, a second or two after they were written; a
    version that FAILED keeps those that were seen.
    """
    del return_graphs, validation
    model = get_model(call.session, call.organization_id, model_id)
    if model_version is None:
        return model_metrics(call.session, newest_complete(call.session, model))
    version = get_model_version(call.session, call.organization_id, model_version)
    if version.model_id != model_id:
        raise DataNotFoundError(f"Model version {model_version} was not found in model {model_id}")
    return model_metrics(call.session, version)


@action("PATCH", errors=(DataNotFoundError, InvalidParameterError, NotReadyError))
def rename_model(call: Call, *, model_id: ModelId, name: str) -> None:
    """Gives a model another name."""
    model = get_model(call.session, call.organization_id, model_id)
    model.name = check_name(name)
    note_occupant(call.session, model.project_id, "model", model.model_id, model.name)
    _, head = find_head(call.session, call.organization_id, model_id)
    groups = [FeatureGroupId(each) for each in head.feature_group_ids]
    lineage.note_users(call.session, groups, "model", model.model_id, model.name)
    rename_user(call.session, "model", model.model_id, model.name)


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def delete_model(call: Call, *, model_id: ModelId) -> None:
    """Deletes a model with all its versions; refused while a deployment stands on any of them."""
    removal.delete_model(call.session, get_model(call.session, call.organization_id, model_id))


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def delete_model_version(call: Call, *, model_version: ModelVersionId) -> None:
    """Deletes one version of a model; refused while a deployment stands on it."""
    removal.delete_version(call.session, get_model_version(call.session, call.organization_id, model_version))


def _refuse_algorithms(**given: list[Any] | dict[str, Any] | None) -> None:
    for name, value in given.items():
        if value:
            raise InvalidParameterError(
                f"{name} can't be given for a Python model: its own train function is its only algorithm."
            )

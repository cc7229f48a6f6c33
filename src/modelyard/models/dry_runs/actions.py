"""A dry run of a Python model, before anything is changed. Actions of this platform's own."""

from typing import Annotated, Any

from modelyard.actions import Call, action, while_status
from modelyard.database import Database
from modelyard.errors import DataNotFoundError, InvalidEnumParameterError, InvalidParameterError
from modelyard.ids import ModelId, ModelValidationId, ProjectId
from modelyard.models.actions import Config, Cpu, Memory, Requirements, ThreadSafe
from modelyard.models.definition import Changes, check_flag, check_training_config
from modelyard.models.dry_runs.validations import Trial, describe_validation, get_validation, validate
from modelyard.models.dry_runs.wire import ModelValidationShape
from modelyard.models.sizes import check_memory
from modelyard.models.versions import get_model
from modelyard.projects.access import get_project
from modelyard.source_code.requirements import parse_requirements

#: Most rows of a table that a dry run may be given.
MOST_ROWS = 1_000_000


@action("POST", errors=(DataNotFoundError, InvalidEnumParameterError, InvalidParameterError), own_transaction=True)
def validate_python_model(
    call: Call,
    *,
    model_id: Annotated[ModelId | None, "The model that would be changed; what is left out is as it has it."] = None,
    project_id: Annotated[ProjectId | None, "Where a new model would be made."] = None,
    function_source_code: str | None = None,
    train_function_name: str | None = None,
    predict_function_name: str | None = None,
    predict_many_function_name: str | None = None,
    initialize_function_name: str | None = None,
    training_input_tables: list[str] | None = None,
    cpu_size: Cpu = None,
    memory: Memory = None,
    package_requirements: Requirements = None,
    use_gpu: bool | None = None,
    is_thread_safe: ThreadSafe = None,
    training_config: Config = None,
    query: Annotated[
        dict[str, Any] | None, "What `predict` is asked; without it, the first row of the first table's sample."
    ] = None,
    sample_rows: Annotated[int | None, "Rows of each table, drawn from all over it."] = None,
) -> ModelValidationShape:
    """Tries a Python model out: check, environment, tables, then import, train and predict on a sample of rows.

    Takes what updatePythonModel and createModelFromPython take, and changes nothing. The answer is PENDING; ask
    describeModelValidation for the stages. A source that the check refuses is FAILED at once.
    """
    project_id = _project_of(call, model_id, project_id)
    changes = Changes(
        source=function_source_code,
        train_function_name=train_function_name,
        predict_function_name=predict_function_name,
        predict_many_function_name=predict_many_function_name,
        initialize_function_name=initialize_function_name,
        training_input_tables=training_input_tables if model_id else training_input_tables or [],
        cpu_size=cpu_size,
        memory_gib=check_memory(memory),
        use_gpu=use_gpu,
        is_thread_safe=check_flag("isThreadSafe", is_thread_safe),
        package_requirements=None if package_requirements is None else parse_requirements(package_requirements),
        training_config=check_training_config(training_config),
    )
    trial = Trial(
        changes=changes, model_id=model_id, project_id=project_id, query=query, sample_rows=_rows(call, sample_rows)
    )
    made = validate(call, trial)
    with call.parts.get(Database).read() as session:
        return describe_validation(session, call, made)


def _project_of(call: Call, model_id: ModelId | None, project_id: ProjectId | None) -> ProjectId | None:
    if model_id is not None:
        return get_model(call.session, call.organization_id, model_id).project_id
    if project_id is not None:
        get_project(call.session, call.organization_id, project_id)
    return project_id


def _rows(call: Call, sample_rows: int | None) -> int:
    rows = call.settings.validation_rows if sample_rows is None else sample_rows
    if not 1 <= rows <= MOST_ROWS:
        raise InvalidParameterError(f"sampleRows is {rows}; it must be between 1 and {MOST_ROWS}.")
    return rows


@action("GET", errors=(DataNotFoundError,), under_way=while_status("PENDING", "RUNNING"))
def describe_model_validation(call: Call, *, model_validation: ModelValidationId) -> ModelValidationShape:
    """A dry run: how far it has come, what each stage took and said, and what `predict` answered."""
    found = get_validation(call.session, call.organization_id, model_validation)
    return describe_validation(call.session, call, found)

"""Models made of several files: zips that are uploaded, and commits of git repositories.

Not in the official client 1.4.119; call them with `client._call_api(name, "POST", body=...)`. Source: the pages
"updatePythonModelZip" and "updatePythonModelGit", and createModelFromZip and createModelFromGit of older clients.
"""

from typing import Annotated, Any

from modelyard.actions import Call, action
from modelyard.connectors.finding import get_application_connector
from modelyard.connectors.repositories import check_branch
from modelyard.datasets.creating import open_upload
from modelyard.datasets.shapes import upload_shape
from modelyard.datasets.wire import UploadShape
from modelyard.errors import DataNotFoundError, InvalidEnumParameterError, InvalidParameterError
from modelyard.feature_groups.tables import get_by_table_names
from modelyard.ids import ApplicationConnectorId, ModelId, ProjectId
from modelyard.models import describe
from modelyard.models.code import receiving
from modelyard.models.code.trees import check_module_name, check_root
from modelyard.models.definition import Changes
from modelyard.models.records import CodeArrival, Model, SourceType
from modelyard.models.revisions import new_model
from modelyard.models.sizes import CpuSize, check_memory
from modelyard.models.versions import get_model
from modelyard.models.wire import ModelShape
from modelyard.projects.access import get_project, note_occupant
from modelyard.projects.actions import check_name
from modelyard.source_code.requirements import parse_requirements

ERRORS = (DataNotFoundError, InvalidEnumParameterError, InvalidParameterError)
CLEARING = 'An empty text (`""`) takes the function away.'
Requirements = Annotated[
    list[Any] | dict[str, Any] | None,
    "Packages for the code, as `['numpy==1.2.3']` or as a mapping from name to version.",
]
Tables = Annotated[list[str] | None, "Names of the tables that `train` is given, in order."]
Cpu = Annotated[CpuSize | None, "Cores for the training: small is 1, medium 2, large 4."]
Memory = Annotated[int | None, "Limit of the training's memory in GB, 1 to 1024."]
Module = Annotated[str | None, "From the root of the code, as `package.module` or `package/module.py`."]
Connector = Annotated[ApplicationConnectorId, "A connector to a git repository."]
Root = Annotated[str | None, "Folder of the repository in which the Python code begins; without one, its top."]


@action("POST", errors=ERRORS)
def create_model_from_zip(
    call: Call,
    *,
    project_id: ProjectId,
    train_function_name: str,
    train_module_name: Annotated[str, "From the root of the zip, as `package.module` or `package/module.py`."],
    predict_module_name: Module = None,
    training_input_tables: Tables = None,
    predict_function_name: str | None = None,
    predict_many_function_name: str | None = None,
    initialize_function_name: str | None = None,
    name: Annotated[str | None, 'Name of the model; "<Project Name> Model" without one.'] = None,
    cpu_size: Cpu = None,
    memory: Memory = None,
    package_requirements: Requirements = None,
    use_gpu: bool | None = None,
) -> UploadShape:
    """Makes a model of a zip file: send it to the upload, in parts, then mark that complete.

    The code is then unpacked and checked; if it can run, the model gets its first revision and its first training.
    """
    changes = _changes(
        call,
        train_function_name=train_function_name,
        train_module_name=train_module_name,
        predict_module_name=predict_module_name,
        training_input_tables=training_input_tables or [],
        predict_function_name=predict_function_name,
        predict_many_function_name=predict_many_function_name,
        initialize_function_name=initialize_function_name,
        cpu_size=cpu_size,
        memory=memory,
        package_requirements=package_requirements,
        use_gpu=use_gpu,
    )
    model = _new(call, project_id, name)
    return _uploaded(call, model, changes, trains=True)


@action("POST", errors=ERRORS)
def create_model_from_git(
    call: Call,
    *,
    project_id: ProjectId,
    application_connector_id: Connector,
    train_function_name: str,
    train_module_name: Annotated[str, "From pythonRoot, as `package.module` or `package/module.py`."],
    branch_name: Annotated[str | None, "Without one: the connector's."] = None,
    python_root: Root = None,
    predict_module_name: Module = None,
    training_input_tables: Tables = None,
    predict_function_name: str | None = None,
    predict_many_function_name: str | None = None,
    initialize_function_name: str | None = None,
    name: Annotated[str | None, 'Name of the model; "<Project Name> Model" without one.'] = None,
    cpu_size: Cpu = None,
    memory: Memory = None,
    package_requirements: Requirements = None,
    use_gpu: bool | None = None,
) -> ModelShape:
    """Makes a model of the newest commit of a branch, and starts its first training once the code was checked."""
    changes = _changes(
        call,
        train_function_name=train_function_name,
        train_module_name=train_module_name,
        predict_module_name=predict_module_name,
        training_input_tables=training_input_tables or [],
        predict_function_name=predict_function_name,
        predict_many_function_name=predict_many_function_name,
        initialize_function_name=initialize_function_name,
        cpu_size=cpu_size,
        memory=memory,
        package_requirements=package_requirements,
        use_gpu=use_gpu,
    )
    model = _new(call, project_id, name)
    receiving.begin(
        call, _fetched(call, model, changes, application_connector_id, branch_name, python_root, trains=True)
    )
    return describe.describe_model(call.session, model)


@action("POST", errors=ERRORS)
def update_python_model_zip(
    call: Call,
    *,
    model_id: ModelId,
    train_function_name: str | None = None,
    predict_function_name: Annotated[str | None, CLEARING] = None,
    predict_many_function_name: Annotated[str | None, CLEARING] = None,
    initialize_function_name: Annotated[str | None, CLEARING] = None,
    train_module_name: Module = None,
    predict_module_name: Module = None,
    training_input_tables: Tables = None,
    cpu_size: Cpu = None,
    memory: Memory = None,
    package_requirements: Requirements = None,
    use_gpu: bool | None = None,
) -> UploadShape:
    """Changes a Python model to the code of a zip file: send it to the upload, in parts, then mark that complete.

    The model's codeSource.status is then PENDING, and COMPLETE once the zip was unpacked and checked and is the model's
    newest revision; FAILED, with an error that names file, line and column, where it can't run. Nothing is executed.
    """
    model = _python_model(call, model_id)
    changes = _changes(
        call,
        train_function_name=train_function_name,
        predict_function_name=predict_function_name,
        predict_many_function_name=predict_many_function_name,
        initialize_function_name=initialize_function_name,
        train_module_name=train_module_name,
        predict_module_name=predict_module_name,
        training_input_tables=training_input_tables,
        cpu_size=cpu_size,
        memory=memory,
        package_requirements=package_requirements,
        use_gpu=use_gpu,
    )
    return _uploaded(call, model, changes, trains=False)


@action("POST", errors=ERRORS)
def update_python_model_git(
    call: Call,
    *,
    model_id: ModelId,
    application_connector_id: Annotated[
        ApplicationConnectorId | None, "Without one: the one that the model has."
    ] = None,
    branch_name: Annotated[str | None, "Without one: the connector's."] = None,
    python_root: Root = None,
    train_function_name: str | None = None,
    predict_function_name: Annotated[str | None, CLEARING] = None,
    predict_many_function_name: Annotated[str | None, CLEARING] = None,
    initialize_function_name: Annotated[str | None, CLEARING] = None,
    train_module_name: Module = None,
    predict_module_name: Module = None,
    training_input_tables: Tables = None,
    cpu_size: Cpu = None,
    memory: Memory = None,
    package_requirements: Requirements = None,
    use_gpu: bool | None = None,
) -> ModelShape:
    """Changes a Python model to the newest commit of a branch, as updatePythonModelZip does to a zip.

    The revision records the commit, and trains with it until this is called again, wherever the branch has gone.
    """
    model = _python_model(call, model_id)
    changes = _changes(
        call,
        train_function_name=train_function_name,
        predict_function_name=predict_function_name,
        predict_many_function_name=predict_many_function_name,
        initialize_function_name=initialize_function_name,
        train_module_name=train_module_name,
        predict_module_name=predict_module_name,
        training_input_tables=training_input_tables,
        cpu_size=cpu_size,
        memory=memory,
        package_requirements=package_requirements,
        use_gpu=use_gpu,
    )
    connector_id = application_connector_id or receiving.connector_of(call.session, model)
    receiving.begin(call, _fetched(call, model, changes, connector_id, branch_name, python_root, trains=False))
    return describe.describe_model(call.session, model)


def _python_model(call: Call, model_id: ModelId) -> Model:
    model = get_model(call.session, call.organization_id, model_id)
    if not model.is_python_model:
        raise InvalidParameterError(f"Model {model_id} is not a Python model; only those are made of source code.")
    return model


def _new(call: Call, project_id: ProjectId, name: str | None) -> Model:
    project = get_project(call.session, call.organization_id, project_id)
    model = new_model(call, project_id, f"{project.name} Model" if name is None else check_name(name))
    model.head = 0
    call.session.add(model)
    call.session.flush()
    note_occupant(call.session, project_id, "model", model.model_id, model.name)
    return model


def _uploaded(call: Call, model: Model, changes: Changes, *, trains: bool) -> UploadShape:
    upload = open_upload(call, receiving.UPLOAD, model_id=model.model_id)
    arrival = receiving.expect(call, model, SourceType.FILE_UPLOAD, changes, upload_id=upload.upload_id, trains=trains)
    if not model.head:
        model.code_arrival = arrival.arrival_id
    return upload_shape(call.session, upload)


def _fetched(
    call: Call, model: Model, changes: Changes, connector_id: ApplicationConnectorId, branch: str | None,
    root: str | None, *, trains: bool,
) -> CodeArrival:  # fmt: skip
    get_application_connector(call.session, call.organization_id, connector_id)
    if branch is not None:
        check_branch(branch)
    arrival = receiving.expect(
        call, model, SourceType.APPLICATION_CONNECTOR, changes, application_connector_id=connector_id,
        branch_name=branch, python_root=check_root(root), trains=trains,
    )  # fmt: skip
    call.session.flush()
    return arrival


def _changes(call: Call, **given: Any) -> Changes:
    """What else the caller changes, checked as far as can be without the code."""
    for name, wire in (("train_module_name", "trainModuleName"), ("predict_module_name", "predictModuleName")):
        if given[name] is not None:
            given[name] = check_module_name(wire, given[name])
    requirements, tables = given.pop("package_requirements"), given["training_input_tables"]
    if tables is not None:
        groups = get_by_table_names(call.session, call.organization_id, tables) if tables else []
        given["feature_group_ids"] = [group.feature_group_id for group in groups]
    return Changes(
        memory_gib=check_memory(given.pop("memory")),
        package_requirements=None if requirements is None else parse_requirements(requirements),
        **given,
    )

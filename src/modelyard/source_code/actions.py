"""Modules and Python functions: create, change, look, delete. Source: the SDK's `client.py`."""

from typing import Annotated, Any

from sqlalchemy import select

from modelyard.actions import Call, action
from modelyard.database import Database
from modelyard.errors import (
    AlreadyExistsError,
    ConflictError,
    DataNotFoundError,
    InvalidEnumParameterError,
    InvalidParameterError,
    MissingParameterError,
)
from modelyard.source_code import modules, python_functions
from modelyard.source_code.python_functions import Content
from modelyard.source_code.records import FunctionType, Module, PythonFunction
from modelyard.source_code.requirements import parse_requirements
from modelyard.source_code.shapes import function_shapes, module_shapes
from modelyard.source_code.variables import read_outputs, read_variables
from modelyard.source_code.wire import ModuleShape, PythonFunctionShape

ModuleName = Annotated[str, "Name by which it is imported: lower case letters and underscores."]
ModuleSource = Annotated[str | None, "A whole Python source file; it may define whatever it likes."]
FunctionName = Annotated[str, "Name to identify the function: a valid Python identifier."]
FunctionSource = Annotated[str | None, "A whole Python source file with the function at its top level."]
NameInSource = Annotated[str | None, "Name of the function within the source; `name` without one."]
Variables = Annotated[
    list[dict[str, Any]] | None,
    "The function's parameters: objects with name, variableType and isRequired, perhaps a value.",
]
Outputs = Annotated[list[dict[str, Any]] | None, "What the function returns: objects with name and variableType."]
Requirements = Annotated[
    list[Any] | dict[str, Any] | None,
    "Packages for the code, as `['numpy==1.2.3']` or as a mapping from name to version.",
]
Examples = Annotated[dict[str, Any] | None, "Texts on how to use it and how not to; kept and shown."]
Connectors = Annotated[dict[str, Any] | None, "Must be empty: there are no application connectors here."]
ConnectorList = Annotated[list[Any] | None, "Must be empty: there are no application connectors here."]
Timeout = Annotated[int | None, "Seconds; only for functions of the type USERCODE_TOOL."]

_REFUSED = {
    FunctionType.CONNECTOR_TOOL: "there are no application connectors here",
    FunctionType.TEMPLATE_TOOL: "there are no templates of tools here",
}


@action(
    "POST",
    errors=(MissingParameterError, InvalidParameterError, AlreadyExistsError, ConflictError),
    own_transaction=True,
)
def create_module(call: Call, *, name: ModuleName, source_code: ModuleSource = None) -> ModuleShape:
    """Makes a module that all of the organisation's code may import by its name. The source is checked, not run."""
    if source_code is None:
        raise MissingParameterError("Missing required parameter: sourceCode")
    modules.create(call, name, source_code)
    return _module(call, name)


@action("PATCH", errors=(DataNotFoundError, ConflictError), own_transaction=True)
def update_module(call: Call, *, name: ModuleName, source_code: ModuleSource = None) -> ModuleShape:
    """Gives a module another source.

    What was trained or materialized with the former one keeps it; the models and feature groups that import the
    module are outdated from now on.
    """
    if source_code is not None:
        modules.update(call, name, source_code)
    return _module(call, name)


@action("GET", errors=(DataNotFoundError,))
def describe_module(call: Call, *, name: ModuleName) -> ModuleShape:
    """One module with its source."""
    module = modules.get_module(call.session, call.organization_id, name)
    return module_shapes(call.session, call.organization_id, [module])[0]


@action("GET")
def list_modules(call: Call) -> list[ModuleShape]:
    """The organisation's modules, by name."""
    query = select(Module).where(Module.organization_id == call.organization_id).order_by(Module.name)
    return module_shapes(call.session, call.organization_id, call.session.scalars(query).all())


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def delete_module(call: Call, *, name: ModuleName) -> None:
    """Deletes a module. One that models, feature groups, functions or modules import is refused with their names."""
    modules.delete(call.session, call.organization_id, name)


@action(
    "POST",
    errors=(
        MissingParameterError,
        InvalidParameterError,
        InvalidEnumParameterError,
        AlreadyExistsError,
        ConflictError,
    ),
    own_transaction=True,
)
def create_python_function(
    call: Call,
    *,
    name: FunctionName,
    source_code: FunctionSource = None,
    function_name: NameInSource = None,
    function_variable_mappings: Variables = None,
    package_requirements: Requirements = None,
    function_type: Annotated[FunctionType, "What it is for."] = FunctionType.FEATURE_GROUP,
    description: str | None = None,
    examples: Examples = None,
    user_level_connectors: Connectors = None,
    org_level_connectors: ConnectorList = None,
    output_variable_mappings: Outputs = None,
    timeout: Timeout = None,
) -> PythonFunctionShape:
    """Registers a Python function, which feature groups can then be made by. The source is checked, not run."""
    if source_code is None:
        raise MissingParameterError("Missing required parameter: sourceCode")
    if function_type in _REFUSED:
        raise InvalidParameterError(f"functionType {function_type} can't be registered: {_REFUSED[function_type]}.")
    _refuse_connectors(user_level_connectors, org_level_connectors)
    content = Content(
        source=source_code,
        function_name=function_name or name,
        variables=read_variables("functionVariableMappings", function_variable_mappings),
        outputs=read_outputs("outputVariableMappings", output_variable_mappings),
        package_requirements=parse_requirements(package_requirements),
        description=description,
        examples=examples,
        timeout_s=_check_timeout(timeout),
    )
    python_functions.create(call, name, function_type, content)
    return _function(call, name)


@action(
    "PATCH",
    errors=(DataNotFoundError, InvalidParameterError, InvalidEnumParameterError, ConflictError),
    own_transaction=True,
)
def update_python_function(
    call: Call,
    *,
    name: FunctionName,
    source_code: FunctionSource = None,
    function_name: Annotated[str | None, "Name of the function within the source."] = None,
    function_variable_mappings: Variables = None,
    package_requirements: Requirements = None,
    description: str | None = None,
    examples: Examples = None,
    user_level_connectors: Connectors = None,
    org_level_connectors: ConnectorList = None,
    output_variable_mappings: Outputs = None,
    timeout: Timeout = None,
) -> PythonFunctionShape:
    """Changes a Python function: what is given replaces what was, all else stays.

    Versions of feature groups keep what they were made with; the groups that are made by it are outdated from now on.
    """
    _refuse_connectors(user_level_connectors, org_level_connectors)
    changes: dict[str, Any] = {
        "source": source_code,
        "function_name": function_name or None,
        "description": description,
        "examples": examples,
        "timeout_s": _check_timeout(timeout),
    }
    if function_variable_mappings is not None:
        changes["variables"] = read_variables("functionVariableMappings", function_variable_mappings)
    if output_variable_mappings is not None:
        changes["outputs"] = read_outputs("outputVariableMappings", output_variable_mappings)
    if package_requirements is not None:
        changes["package_requirements"] = parse_requirements(package_requirements)
    python_functions.update(call, name, {key: value for key, value in changes.items() if value is not None})
    return _function(call, name)


@action("GET", errors=(DataNotFoundError,))
def describe_python_function(call: Call, *, name: FunctionName) -> PythonFunctionShape:
    """One Python function with its source."""
    function = python_functions.get_function(call.session, call.organization_id, name)
    return function_shapes(call.session, call.organization_id, [function])[0]


@action("GET", errors=(InvalidEnumParameterError,))
def list_python_functions(
    call: Call, *, function_type: Annotated[FunctionType, "Which ones to list."] = FunctionType.FEATURE_GROUP
) -> list[PythonFunctionShape]:
    """The organisation's Python functions of one type, by name."""
    query = select(PythonFunction).where(
        PythonFunction.organization_id == call.organization_id, PythonFunction.function_type == function_type
    )
    found = call.session.scalars(query.order_by(PythonFunction.name)).all()
    return function_shapes(call.session, call.organization_id, found)


@action("DELETE", errors=(DataNotFoundError, ConflictError))
def delete_python_function(call: Call, *, name: FunctionName) -> None:
    """Deletes a Python function. One that feature groups are made by is refused with their names."""
    python_functions.delete(call.session, call.organization_id, name)


def _module(call: Call, name: str) -> ModuleShape:
    """The module, read anew: the call's own session may see the time before the change."""
    with call.parts.get(Database).read() as session:
        module = modules.get_module(session, call.organization_id, name)
        return module_shapes(session, call.organization_id, [module])[0]


def _function(call: Call, name: str) -> PythonFunctionShape:
    with call.parts.get(Database).read() as session:
        function = python_functions.get_function(session, call.organization_id, name)
        return function_shapes(session, call.organization_id, [function])[0]


def _refuse_connectors(user_level: dict[str, Any] | None, org_level: list[Any] | None) -> None:
    for parameter, given in (("userLevelConnectors", user_level), ("orgLevelConnectors", org_level)):
        if given:
            raise InvalidParameterError(f"{parameter} must be empty: there are no application connectors here.")


def _check_timeout(timeout: int | None) -> int | None:
    if timeout is not None and timeout < 1:
        raise InvalidParameterError(f"timeout is {timeout}; it must be a number of seconds from 1.")
    return timeout

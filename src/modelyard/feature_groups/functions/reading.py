"""Makes definitions from Python functions, with a source of their own or registered; checks that they can run.

Input tables come by position, in order; or by keyword, where bindings name them. Other bindings are plain values.
Source: the SDK's createFeatureGroupFromFunction and PythonFunctionArgumentType.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from modelyard.actions import Call
from modelyard.errors import InvalidEnumParameterError, InvalidParameterError, MissingParameterError
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.functions.bindings import Bound, bind
from modelyard.feature_groups.registering import Sizes
from modelyard.feature_groups.shapes import CheckNotes
from modelyard.feature_groups.sizes import CpuSize
from modelyard.source_code.check import Checker, CheckRequest
from modelyard.source_code.pins import known_modules
from modelyard.source_code.python_functions import content_of, get_function
from modelyard.source_code.records import FunctionType, PythonFunctionRevision
from modelyard.source_code.requirements import parse_requirements

#: Largest memory that can be asked for, in GiB.
MOST_MEMORY_GIB = 1024


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function as a caller registers it."""

    source: str | None
    name: str | None
    #: Name of a registered function, which has its own source.
    registered: str | None = None
    input_tables: Sequence[str] = ()
    bindings: Sequence[dict[str, Any]] = ()
    requirements: Sequence[str] | dict[str, str | None] | None = None


def read_function(call: Call, function: Function) -> tuple[Definition, CheckNotes]:
    """The definition that a function makes, and what its check had to say; ConflictError if it can't run."""
    if function.registered is not None:
        return _read_registered(call, function.registered, function), CheckNotes()
    if not function.source or not function.name:
        missing = "functionName" if function.source else "functionSourceCode"
        raise MissingParameterError(f"Missing required parameter: {missing}")
    bound = bind(call.session, call.organization_id, function.input_tables, function.bindings)
    known = known_modules(call.session, call.organization_id, function.source)
    requirements = parse_requirements(function.requirements)
    call.session.rollback()  # the check may take seconds; nothing is kept open meanwhile
    report = call.parts.get(Checker).check(
        CheckRequest(
            source=function.source,
            functions={"function": function.name},
            table_count=bound.positional,
            requirements=requirements,
            keywords=bound.keywords,
            modules=known.names,
            contents=known.contents,
        )
    )
    definition = Definition(
        inputs=bound.inputs,
        source_code=function.source,
        function_name=function.name,
        requirements=tuple(dict.fromkeys([*requirements, *report.inferred_requirements])),
        modules=tuple(report.module_dependencies),
        arguments=bound.arguments,
    )
    return definition, CheckNotes(requirements, report.publishing_msg, report.module_dependencies)


def _read_registered(call: Call, name: str, function: Function) -> Definition:
    """The definition that a registered function makes with those bindings; the function itself is found at each use."""
    found = get_function(call.session, call.organization_id, name)
    if found.function_type != FunctionType.FEATURE_GROUP:
        raise InvalidParameterError(
            f"The Python function {name} is a {found.function_type}; only a FEATURE_GROUP gives a table."
        )
    if function.requirements or function.name:
        given = "packageRequirements" if function.requirements else "functionName"
        raise InvalidParameterError(f"{given} is the registered function's own; change it with updatePythonFunction.")
    revision = call.session.get_one(PythonFunctionRevision, found.head)
    content = content_of(call.session, revision)
    bound = bind(call.session, call.organization_id, function.input_tables, function.bindings, content.variables)
    if not content.variables:
        _check_call(call, content.source, content.function_name, bound, content.package_requirements)
    return Definition(inputs=bound.inputs, python_function=name, arguments=bound.arguments)


def _check_call(call: Call, source: str, name: str, bound: Bound, requirements: Sequence[str]) -> None:
    """Whether a function that declares no variables can be called so."""
    known = known_modules(call.session, call.organization_id, source)
    call.session.rollback()
    call.parts.get(Checker).check(
        CheckRequest(
            source=source,
            functions={"function": name},
            table_count=bound.positional,
            requirements=requirements,
            keywords=bound.keywords,
            modules=known.names,
            contents=known.contents,
        )
    )


def read_sizes(cpu_size: str | None, memory: int | None, use_gpu: bool | None) -> Sizes:
    """The sizes that a function's guest is to be given; refuses what is no size."""
    if cpu_size is not None and cpu_size.lower() not in set(CpuSize):
        raise InvalidEnumParameterError(
            f"Invalid value for cpuSize: {cpu_size[:50]!r}; it must be one of {', '.join(CpuSize)}"
        )
    if memory is not None and not 1 <= memory <= MOST_MEMORY_GIB:
        raise InvalidParameterError(f"memory is {memory}; it must be between 1 and {MOST_MEMORY_GIB} (GB)")
    return Sizes(cpu_size=cpu_size.lower() if cpu_size else None, memory_gib=memory, use_gpu=bool(use_gpu))

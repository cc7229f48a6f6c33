"""Registers Python functions as feature groups: what they are called with, and that they can run at all.

Input tables come by position, in order; or by keyword, where bindings name them. Other bindings are plain values.
Source: the SDK's createFeatureGroupFromFunction and PythonFunctionArgumentType.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.errors import InvalidEnumParameterError, InvalidParameterError, MissingParameterError
from modelyard.feature_groups.definition import Definition, Input
from modelyard.feature_groups.registering import Sizes
from modelyard.feature_groups.shapes import CheckNotes
from modelyard.feature_groups.sizes import CpuSize
from modelyard.feature_groups.tables import get_by_table_names
from modelyard.ids import OrganizationId
from modelyard.source_code.check import Checker, CheckRequest
from modelyard.source_code.requirements import parse_requirements

#: Largest memory that can be asked for, in GiB.
MOST_MEMORY_GIB = 1024


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function as a caller registers it."""

    source: str | None
    name: str | None
    input_tables: Sequence[str] = ()
    bindings: Sequence[dict[str, Any]] = ()
    requirements: Sequence[str] | dict[str, str | None] | None = None


def read_function(call: Call, function: Function) -> tuple[Definition, CheckNotes]:
    """The definition that a function makes, and what its check had to say; ConflictError if it can't run."""
    if not function.source or not function.name:
        missing = "functionName" if function.source else "functionSourceCode"
        raise MissingParameterError(f"Missing required parameter: {missing}")
    inputs, arguments = _inputs(call.session, call.organization_id, function)
    requirements = parse_requirements(function.requirements)
    call.session.rollback()  # the check may take seconds; nothing is kept open meanwhile
    report = call.parts.get(Checker).check(
        CheckRequest(
            source=function.source,
            functions={"function": function.name},
            table_count=sum(each.binding is None for each in inputs),
            requirements=requirements,
            keywords=[each.binding for each in inputs if each.binding is not None] + list(arguments),
        )
    )
    definition = Definition(
        inputs=tuple(inputs),
        source_code=function.source,
        function_name=function.name,
        requirements=tuple(dict.fromkeys([*requirements, *report.inferred_requirements])),
        arguments=arguments,
    )
    return definition, CheckNotes(requirements, report.publishing_msg, report.module_dependencies)


def read_sizes(cpu_size: str | None, memory: int | None, use_gpu: bool | None) -> Sizes:
    """The sizes that a function's guest is to be given; refuses what is no size."""
    if cpu_size is not None and cpu_size.lower() not in set(CpuSize):
        raise InvalidEnumParameterError(
            f"Invalid value for cpuSize: {cpu_size[:50]!r}; it must be one of {', '.join(CpuSize)}"
        )
    if memory is not None and not 1 <= memory <= MOST_MEMORY_GIB:
        raise InvalidParameterError(f"memory is {memory}; it must be between 1 and {MOST_MEMORY_GIB} (GB)")
    return Sizes(cpu_size=cpu_size.lower() if cpu_size else None, memory_gib=memory, use_gpu=bool(use_gpu))


def _inputs(
    session: Session, organization_id: OrganizationId, function: Function
) -> tuple[list[Input], dict[str, Any]]:
    tables: list[tuple[str, str | None]] = [(name, None) for name in function.input_tables]
    arguments: dict[str, Any] = {}
    for binding in function.bindings:
        name, kind, value = _binding(binding)
        if kind == "FEATURE_GROUP":
            tables.append((str(value), name))
        elif value is not None:
            arguments[name] = value
    groups = get_by_table_names(session, organization_id, [table for table, _ in tables])
    inputs = [
        Input(group.feature_group_id, group.table_name, keyword)
        for group, (_, keyword) in zip(groups, tables, strict=True)
    ]
    return inputs, arguments


def _binding(binding: dict[str, Any]) -> tuple[str, str, Any]:
    name = binding.get("name")
    kind = binding.get("variableType", binding.get("variable_type"))
    if not isinstance(name, str) or not name.isidentifier():
        raise InvalidParameterError(f"A binding's name must be that of a parameter, not {str(name)[:100]!r}")
    if not isinstance(kind, str):
        raise InvalidParameterError(f"The binding of {name} needs a variableType such as FEATURE_GROUP or STRING")
    return name, kind.upper(), binding.get("value")

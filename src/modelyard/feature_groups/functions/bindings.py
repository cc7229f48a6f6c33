"""What a Python function is called with: tables and values, by position or by the names of its variables.

A group with a source of its own says it all by itself. One that is made by a registered function gives values to the
variables that this declares: each is held against its type, and a required one that is left out is named.
Source: the SDK's createFeatureGroupFromFunction, PythonFunctionArgument.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy.orm import Session

from modelyard.errors import InvalidParameterError, MissingParameterError
from modelyard.feature_groups.definition import Input
from modelyard.feature_groups.tables import get_by_table_names
from modelyard.ids import OrganizationId
from modelyard.source_code.variables import Variable, VariableType, check_value, read_variables

PARAMETER = "pythonFunctionBindings"


class Bound(NamedTuple):
    """The arguments of a call."""

    inputs: tuple[Input, ...]
    arguments: dict[str, Any]

    @property
    def keywords(self) -> list[str]:
        """The names of those that are given by keyword."""
        return [each.binding for each in self.inputs if each.binding is not None] + list(self.arguments)

    @property
    def positional(self) -> int:
        """How many tables are given by position."""
        return sum(each.binding is None for each in self.inputs)


def bind(
    session: Session,
    organization_id: OrganizationId,
    tables: Sequence[str],
    given: Sequence[Mapping[str, Any]],
    declared: Sequence[Variable] = (),
) -> Bound:
    """The call with those tables and bindings; `declared` are the variables of a registered function."""
    bindings = read_variables(PARAMETER, given)
    positional = list(tables)
    if declared:
        bindings = [*_bind_tables(positional, bindings, declared), *bindings]
        bindings, positional = _typed(bindings, declared), []
    _check_complete(bindings, declared)
    named: list[tuple[str, str | None]] = [(table, None) for table in positional]
    arguments: dict[str, Any] = {}
    for each in bindings:
        if each.value is None:
            continue
        if each.variable_type == VariableType.FEATURE_GROUP:
            named.append((check_value(each), each.name))
        else:
            arguments[each.name] = check_value(each)
    return Bound(_inputs(session, organization_id, named), arguments)


def _bind_tables(tables: Sequence[str], bindings: Sequence[Variable], declared: Sequence[Variable]) -> list[Variable]:
    """Input tables go to the variables for tables that are not bound, in order."""
    bound = {each.name for each in bindings}
    free = [each for each in declared if each.variable_type == VariableType.FEATURE_GROUP and each.name not in bound]
    if len(tables) > len(free):
        raise InvalidParameterError(
            f"inputFeatureGroups has {len(tables)} tables, but the function has {len(free)} variables for tables that "
            f"{PARAMETER} leaves free."
        )
    return [msgspec.structs.replace(each, value=table) for each, table in zip(free, tables, strict=False)]


def _typed(bindings: Sequence[Variable], declared: Sequence[Variable]) -> list[Variable]:
    """The bindings with the types that the function declares, in its order, tables that it names itself included."""
    known, found = {each.name: each for each in declared}, {each.name: each for each in bindings}
    for each in bindings:
        if each.name not in known:
            near = difflib.get_close_matches(each.name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}."
            raise InvalidParameterError(f"{PARAMETER}: the function has no variable {each.name}; {hint}")
        declared_type = known[each.name].variable_type
        if each.variable_type not in (None, declared_type):
            raise InvalidParameterError(
                f"{PARAMETER}: {each.name} is bound as {each.variable_type}, but the function declares {declared_type}."
            )
    return [
        msgspec.structs.replace(each, value=found[each.name].value) if each.name in found else _own_table(each)
        for each in declared
    ]


def _own_table(variable: Variable) -> Variable:
    """A variable that is not bound: only a table that the function names itself is bound now, others at each call."""
    if variable.variable_type == VariableType.FEATURE_GROUP or variable.value is None:
        return variable
    return msgspec.structs.replace(variable, value=None, is_required=False)


def _check_complete(bindings: Sequence[Variable], declared: Sequence[Variable]) -> None:
    missing = [each.name for each in bindings if each.value is None and each.is_required]
    if missing and declared:
        raise MissingParameterError(f"{PARAMETER} gives no value to {', '.join(missing)}, which the function requires.")
    untyped = [each.name for each in bindings if each.variable_type is None]
    if untyped:
        raise InvalidParameterError(
            f"The binding of {untyped[0]} in {PARAMETER} needs a variableType such as FEATURE_GROUP or STRING"
        )


def _inputs(
    session: Session, organization_id: OrganizationId, named: Sequence[tuple[str, str | None]]
) -> tuple[Input, ...]:
    groups = get_by_table_names(session, organization_id, [table for table, _ in named])
    return tuple(
        Input(group.feature_group_id, group.table_name, keyword)
        for group, (_, keyword) in zip(groups, named, strict=True)
    )

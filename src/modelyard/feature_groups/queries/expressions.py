"""Columns added to a SQL group, changed and taken away one by one: the group's query is written anew around its own.

    SELECT * EXCEPT (`dropped`),
    expression AS `added`
    FROM (
    the query as it was written
    ) AS `own`

An expression sees the columns of the group's own query, those that are dropped too, and the features before it. It is
read by itself first, so that a place in an error is a place in the expression. A new statement for the group
(updateFeatureGroupSqlDefinition) replaces all of it.
"""

import re
from collections.abc import Sequence

import msgspec
from sqlalchemy.orm import Session

from modelyard.errors import AlreadyExistsError, ConflictError, InvalidParameterError
from modelyard.feature_groups.definition import Definition, FeatureExpression
from modelyard.feature_groups.queries.sql import Query
from modelyard.feature_groups.records import FeatureGroup, VersionStatus
from modelyard.feature_groups.registering import read_sql
from modelyard.feature_groups.tables import newest_version
from modelyard.ids import OrganizationId

#: Longest name of a feature.
LONGEST_NAME = 255
#: What a column's data type is cast to. Source: the SDK's DataType.
_CASTS = {
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "STRING": "STRING",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
    "BOOLEAN": "BOOLEAN",
}


def add(definition: Definition, known: Sequence[str], name: str, expression: str) -> Definition:
    """The definition with one more column; AlreadyExistsError if there is one of that name."""
    _check_name(name)
    visible = visible_columns(definition, known)
    if name in {each.name for each in definition.added} or name in visible:
        raise AlreadyExistsError(f"There is a feature {name!r} already; updateFeature changes it")
    added = FeatureExpression(name, read_expression(expression, definition, known))
    return msgspec.structs.replace(definition, added=(*definition.added, added))


def change(
    definition: Definition, known: Sequence[str], name: str, expression: str | None, new_name: str | None
) -> Definition:
    """The definition with that column computed in another way, or called otherwise, or both."""
    check_there(definition, known, name)
    called = new_name or name
    _check_name(called)
    if called != name and called in {*visible_columns(definition, known), *(each.name for each in definition.added)}:
        raise AlreadyExistsError(f"There is a feature {called!r} already; choose another newName")
    former = next((each.expression for each in definition.added if each.name == name), _quoted(name))
    text = former if expression is None else read_expression(expression, definition, known)
    changed = FeatureExpression(called, text)
    if name in {each.name for each in definition.added}:
        added = tuple(changed if each.name == name else each for each in definition.added)
        return msgspec.structs.replace(definition, added=added)
    return msgspec.structs.replace(definition, added=(*definition.added, changed), dropped=(*definition.dropped, name))


def drop(definition: Definition, known: Sequence[str], name: str) -> Definition:
    """The definition without that column."""
    check_there(definition, known, name)
    if name in {each.name for each in definition.added}:
        added = tuple(each for each in definition.added if each.name != name)
        return msgspec.structs.replace(definition, added=added)
    dropped = msgspec.structs.replace(definition, dropped=(*definition.dropped, name))
    if known and not dropped.added and not visible_columns(dropped, known):
        raise ConflictError(f"{name!r} is the only feature that is left; a table has one at least")
    return dropped


def cast(definition: Definition, known: Sequence[str], types: Sequence[tuple[str, str]]) -> Definition:
    """The definition with columns of those data types; values that don't fit become null, as CAST has it."""
    for name, data_type in types:
        if data_type.upper() not in _CASTS:
            raise InvalidParameterError(
                f"Column {name[:200]!r} can't be {data_type[:50]!r}; it can be {', '.join(_CASTS)}"
            )
        check_there(definition, known, name)
        former = next((each.expression for each in definition.added if each.name == name), _quoted(name))
        definition = change(definition, known, name, f"CAST({former} AS {_CASTS[data_type.upper()]})", None)
    return definition


def rewritten(session: Session, organization_id: OrganizationId, definition: Definition) -> Definition:
    """The definition of the whole query, read anew."""
    base = definition.base_sql or definition.sql or ""
    if not definition.added and not definition.dropped:
        return read_sql(session, organization_id, base)
    parts = [f"* EXCEPT ({', '.join(map(_quoted, definition.dropped))})" if definition.dropped else "*"]
    parts += [f"{each.expression} AS {_quoted(each.name)}" for each in definition.added]
    text = "SELECT {}\nFROM (\n{}\n) AS `own`".format(",\n".join(parts), base.strip().rstrip(";"))
    read = read_sql(session, organization_id, text)
    return msgspec.structs.replace(read, base_sql=base, added=definition.added, dropped=definition.dropped)


def known_columns(session: Session, group: FeatureGroup) -> list[str]:
    """The columns of the group's own query, if a complete version of its present definition tells them; else none."""
    version, definition = newest_version(session, group, VersionStatus.COMPLETE), group.made_from
    if version is None or version.definition_digest != group.definition_digest:
        return []
    added = {each.name for each in definition.added}
    kept = [column.name for column in version.manifest.columns if column.name not in added]
    return [*kept, *definition.dropped]


def visible_columns(definition: Definition, known: Sequence[str]) -> list[str]:
    """Those of the own query's columns that the group shows."""
    return [name for name in known if name not in definition.dropped]


def check_there(definition: Definition, known: Sequence[str], name: str) -> None:
    """InvalidParameterError if the group is known not to have that column."""
    names = [*visible_columns(definition, known), *(each.name for each in definition.added)]
    if name in definition.dropped and name not in names:
        raise InvalidParameterError(f"There is no feature {name[:200]!r} any more")
    if known and name not in names:
        raise InvalidParameterError(f"There is no feature {name[:200]!r}; there are {', '.join(names[:20])}")


def read_expression(text: str, definition: Definition, known: Sequence[str]) -> str:
    """The expression as it is kept; InvalidParameterError with the place in the expression if it is none."""
    try:
        query = Query(f"SELECT\n{text.strip()}\nFROM `own`")
        expression = query.only_expression(text.strip())
        if known:
            query.check_columns({"own": [*known, *(each.name for each in definition.added)]})
    except InvalidParameterError as error:
        raise InvalidParameterError(_in_expression(error.message, text.strip().count("\n") + 1)) from None
    return expression


def _in_expression(message: str, lines: int) -> str:
    """The message about the query around an expression, as one about the expression."""

    def place(found: re.Match[str]) -> str:
        line = int(found[1]) - 1
        return f"line {max(line, 1)}{found[2]}" if line <= lines else "at its end"

    moved = re.sub(r"\bline (\d+)(, column \d+(?:, at '[^']*')?)", place, message)
    return moved.replace("The query", "The expression", 1)


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > LONGEST_NAME or "`" in name or "\n" in name:
        raise InvalidParameterError(
            f"Invalid name {name[:200]!r}: it must have 1 to {LONGEST_NAME} characters, and no backtick"
        )


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"

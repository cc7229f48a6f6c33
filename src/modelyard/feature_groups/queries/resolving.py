"""Which column a name in a query means; and where it means none, or more than one, the sentence that says so.

`sqlglot` resolves names. It knows less than the engine (fields of structs, what a LATERAL VIEW gives), so a name that
it can't resolve is refused only where all that the name could come from is known; the rest is left to the engine.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from sqlglot import exp
from sqlglot.errors import OptimizeError, SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope

from modelyard.errors import InvalidParameterError
from modelyard.feature_groups.queries.dialect import Users

Known = Mapping[str, Sequence[str]]

_UNRESOLVED = re.compile(r"Column '([^']*)' could not be resolved|Unknown column: (.+)")
#: What `sqlglot` raises where it meets what it did not expect: then it can't judge.
_AT_A_LOSS = (SqlglotError, RecursionError, KeyError, TypeError, ValueError, AttributeError, IndexError)


def check(tree: exp.Query, known: Known) -> None:
    """Refuses a name that no table has, or several; `known` holds the columns of every table of the query."""
    schema: dict[str, object] = {name: dict.fromkeys(columns, "string") for name, columns in known.items()}
    try:
        qualify(tree.copy(), dialect=Users, schema=schema, quote_identifiers=False)
    except OptimizeError as error:
        found = _UNRESOLVED.search(str(error))
        if found:
            _explain(tree, known, (found[1] or found[2]).strip().strip('"`'))
    except _AT_A_LOSS:
        return


def _explain(tree: exp.Query, known: Known, name: str) -> None:
    try:
        message = next(_reasons(tree, known, name.lower()), None)
    except _AT_A_LOSS:
        return
    if message is not None:
        raise InvalidParameterError(message)


def _reasons(tree: exp.Query, known: Known, name: str) -> Iterator[str]:
    defined = _defined(tree)
    for scope in traverse_scope(tree):
        for column in scope.columns:
            if column.name.lower() == name:
                reason = _reason(scope, column, known, defined)
                if reason:
                    yield _place(column) + reason


def _reason(scope: Scope, column: exp.Column, known: Known, defined: set[str]) -> str | None:
    """Why the column is none in this part of the query; None where it may be one."""
    if column.table:
        return _reason_qualified(scope, column, known, defined)
    sources = _sources(scope, known)
    having = [alias for alias, columns in sources.items() if columns and column.name.lower() in _lower(columns)]
    if len(having) > 1 and not scope.expression.find(exp.Lateral) and not _is_joined_by(scope, column.name):
        return f"column {column.name!r} is in {_words(having)}; write {having[0]}.{column.name}"
    if having or column.name.lower() in defined or any(columns is None for columns in sources.values()):
        return None
    if any(
        column.name.lower() in _lower(columns or ())
        for outer in _outer(scope)
        for columns in _sources(outer, known).values()
    ):
        return None
    return _missing(column.name, [each for columns in sources.values() for each in columns or ()])


def _reason_qualified(scope: Scope, column: exp.Column, known: Known, defined: set[str]) -> str | None:
    names = {
        alias.lower(): columns for each in (scope, *_outer(scope)) for alias, columns in _sources(each, known).items()
    }
    table = column.table.lower()
    if table in names:
        columns = names[table]
        if columns is None or column.name.lower() in _lower(columns):
            return None
        return _missing(column.name, columns)
    if table in defined or table in {each.lower() for columns in known.values() for each in columns}:
        return None  # the field of a struct, or what a LATERAL VIEW gives
    near = difflib.get_close_matches(column.table, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {_words(list(names))}"
    return f"no table is called {column.table!r} there{hint}"


def _sources(scope: Scope, known: Known) -> dict[str, Sequence[str] | None]:
    """What the names in this part of the query can come from: alias -> columns, None where these are not known."""
    found: dict[str, Sequence[str] | None] = {}
    for alias, source in scope.sources.items():
        if alias in scope.cte_sources and alias not in scope.selected_sources:
            continue
        found[alias] = known.get(source.name) if isinstance(source, exp.Table) else _selected(source, known)
    return found


def _selected(scope: Scope, known: Known) -> Sequence[str] | None:
    """The columns that a part of the query gives; None where they are not known."""
    query = scope.expression
    if not isinstance(query, exp.Select) or query.find(exp.Lateral, exp.Pivot):
        names = query.named_selects if isinstance(query, exp.Query) else []
        return None if not names or "*" in names else names
    found: list[str] = []
    for each in query.expressions:
        if not each.is_star:
            found.append(each.alias_or_name)
            continue
        sources = _sources(scope, known)
        taken = [sources.get(each.table)] if isinstance(each, exp.Column) else list(sources.values())
        if any(columns is None for columns in taken):
            return None
        star = each.this if isinstance(each, exp.Column) else each
        left_out = {name.name.lower() for name in star.args.get("except_") or star.args.get("except") or []}
        found += [name for columns in taken for name in columns or () if name.lower() not in left_out]
    return found if all(found) else None


def _outer(scope: Scope) -> Iterator[Scope]:
    while scope.parent is not None:
        scope = scope.parent
        yield scope


def _is_joined_by(scope: Scope, name: str) -> bool:
    joins = scope.expression.args.get("joins") or []
    using = {each.name.lower() for join in joins for each in join.args.get("using") or []}
    return name.lower() in using or any(join.method.upper() == "NATURAL" for join in joins)


def _defined(tree: exp.Query) -> set[str]:
    """Names that the query itself gives to something."""
    defined = {node.alias.lower() for node in tree.find_all(exp.Alias, exp.Subquery, exp.CTE, exp.Table) if node.alias}
    for alias in tree.find_all(exp.TableAlias):
        defined |= {column.name.lower() for column in alias.columns} | {alias.name.lower()}
    for pivot in tree.find_all(exp.Pivot):
        defined |= {node.name.lower() for node in pivot.find_all(exp.Identifier, exp.Literal)}
    return defined | {node.name.lower() for node in tree.find_all(exp.Lambda) for node in node.expressions}


def _missing(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    there = list(dict.fromkeys(names))
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(there[:20])}"
    return f"there is no column {name!r}{hint}"


def _place(column: exp.Column) -> str:
    line, end = column.this.meta.get("line"), column.this.meta.get("col")
    return f"line {line}, column {max(1, int(end) - len(column.name) + 1)}: " if line and end else ""


def _lower(names: Sequence[str]) -> set[str]:
    return {name.lower() for name in names}


def _words(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)

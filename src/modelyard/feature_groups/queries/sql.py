"""Reads a user's query, without running it: the tables that it needs, and the same query in the engine's dialect.

Users write the Spark-flavoured dialect of the API; the engine is DuckDB. Reading happens in the gateway, so it is
bounded: a query has a limit on its length and its tokens, and one that is nested too deeply for the parser is refused,
as is everything but a single SELECT. Source: the SDK's executeFeatureGroupSql, "sql_dialect='Spark'".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import TokenType, exp
from sqlglot.dialects import Spark
from sqlglot.errors import ErrorLevel, OptimizeError, ParseError, TokenError, UnsupportedError
from sqlglot.optimizer.scope import traverse_scope

from modelyard.errors import InvalidParameterError
from modelyard.feature_groups.queries import calls, dialect, resolving

#: Characters that a query may have.
LONGEST = 100_000
#: Words and signs that a query may have.
MOST_TOKENS = 20_000
#: SELECTs that it may have: the time to look through them grows with their square.
MOST_SELECTS = 1_000
_TOO_DEEP = "The query is nested too deeply; name its parts with WITH"
#: Statements that may hide inside a SELECT, as in a common table expression.
_FORBIDDEN = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Drop, exp.Set, exp.Use, exp.Pragma, exp.Attach, exp.Copy)
#: Functions that stand for a table and need none.
_ROWS = ("explode", "explode_outer", "posexplode", "posexplode_outer", "unnest", "range", "stack", "inline")


@dataclass(frozen=True, slots=True)
class TableUse:
    """A table's name as the query writes it, and where (1-based; 0 where that is not known)."""

    name: str
    line: int
    column: int

    @property
    def place(self) -> str:
        return f"line {self.line}, column {self.column}" if self.line else "in the query"


class Query:
    """A query that has been read and found to be one SELECT."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tree = _parse(text)
        self._nodes = list(_tables(self._tree))

    @property
    def tables(self) -> list[TableUse]:
        """The tables that it needs, each once, in the order in which it names them."""
        uses = {node.name: _use(node) for node in reversed(self._nodes)}
        return sorted(uses.values(), key=lambda use: (use.line, use.column))

    def in_engine_dialect(self, registered: Mapping[str, str]) -> str:
        """The query for the engine, its tables under their registered names (written name -> registered name)."""
        tree = self._tree.copy()
        for node in list(_tables(tree)):
            if not node.alias:
                node.set("alias", exp.TableAlias(this=exp.to_identifier(node.name, quoted=node.this.quoted)))
            node.set("this", exp.to_identifier(registered[node.name], quoted=True))
        try:
            return calls.write(dialect.adapt(tree), self._text)
        except UnsupportedError as error:
            raise InvalidParameterError(f"The query uses what can't be run here: {error}") from error
        except RecursionError as error:
            raise InvalidParameterError(_TOO_DEEP) from error

    def only_expression(self, text: str) -> str:
        """The one expression that it selects, as `text` writes it but for an alias; refuses everything beside it."""
        tree = self._tree
        beside = [
            name for name, value in tree.args.items() if value and name.rstrip("_") not in ("expressions", "from")
        ]
        if not isinstance(tree, exp.Select) or beside or len(tree.expressions) != 1:
            raise InvalidParameterError("The query must hold one expression, such as price * amount, and nothing else")
        found = tree.expressions[0]
        if isinstance(found, exp.Star) or (isinstance(found, exp.Column) and isinstance(found.this, exp.Star)):
            raise InvalidParameterError("The query must hold one expression; * is as many as there are columns")
        return str(found.this.sql(dialect=Spark)) if isinstance(found, exp.Alias) else text

    def check_columns(self, known: Mapping[str, Sequence[str]]) -> None:
        """Refuses a column that none of its tables has; `known` holds the columns of those where they are known."""
        used = {node.name for node in self._nodes}
        if not used or not used <= known.keys():
            return
        resolving.check(self._tree, {name: known[name] for name in used})


def _parse(text: str) -> exp.Query:
    if not text.strip():
        raise InvalidParameterError("The query is empty; it must be a SELECT statement")
    if len(text) > LONGEST:
        raise InvalidParameterError(f"The query has {len(text):,} characters; at most {LONGEST:,} are allowed")
    try:
        tokens = dialect.Users().tokenize(text)
        if len(tokens) > MOST_TOKENS:
            raise InvalidParameterError(f"The query has {len(tokens):,} words; at most {MOST_TOKENS:,} are allowed")
        if sum(token.token_type == TokenType.SELECT for token in tokens) > MOST_SELECTS:
            raise InvalidParameterError(f"The query has more than {MOST_SELECTS:,} SELECTs, which are too many")
        statements = [
            each for each in dialect.Users().parser(error_level=ErrorLevel.IMMEDIATE).parse(tokens, text) if each
        ]
    except TokenError as error:
        raise InvalidParameterError(f"The query can't be read: {error}") from error
    except ParseError as error:
        raise InvalidParameterError(_parse_message(error)) from error
    except RecursionError as error:
        raise InvalidParameterError(_TOO_DEEP) from error
    except (AttributeError, TypeError, ValueError, IndexError, KeyError) as error:
        raise InvalidParameterError("The query can't be read; check its syntax") from error
    return _only_select(statements)


def _only_select(statements: Sequence[exp.Expr]) -> exp.Query:
    if len(statements) != 1:
        raise InvalidParameterError(f"The query holds {len(statements)} statements; it must be one SELECT statement")
    tree = statements[0]
    if not isinstance(tree, exp.Query):
        raise InvalidParameterError(f"The query must be a SELECT statement, not {tree.key.upper()}")
    try:
        forbidden = tree.find(*_FORBIDDEN)
    except RecursionError as error:
        raise InvalidParameterError(_TOO_DEEP) from error
    if forbidden is not None:
        raise InvalidParameterError(f"A query only reads: it must not hold {forbidden.key.upper()}")
    for group in tree.find_all(exp.Group):
        if not any(group.args.values()):
            raise InvalidParameterError("The query can't be read: GROUP BY names nothing")
    return tree


def _tables(tree: exp.Query) -> Iterator[exp.Table]:
    """The nodes that name a registered table: not those that name a common table expression in whose reach they are."""
    try:
        scopes = traverse_scope(tree)
    except (RecursionError, OptimizeError) as error:
        raise InvalidParameterError(_TOO_DEEP if isinstance(error, RecursionError) else str(error)) from error
    seen: set[int] = set()
    for scope in scopes:
        for source in scope.sources.values():
            if isinstance(source, exp.Table) and id(source) not in seen:
                seen.add(id(source))
                _check_table(source)
                if source.name and isinstance(source.this, exp.Identifier):
                    yield source


def _check_table(node: exp.Table) -> None:
    if node.args.get("db"):
        written = node.sql(dialect=Spark)
        raise InvalidParameterError(f"There is no table {written[:120]!r}: tables have one name, without dots")
    if not isinstance(node.this, exp.Identifier):
        name = node.this.sql(dialect=Spark).partition("(")[0].lower()
        if name not in _ROWS:
            raise InvalidParameterError(f"{name[:120]}(...) can't stand for a table; name a feature group's table")


def _use(node: exp.Table) -> TableUse:
    meta = node.this.meta
    return TableUse(node.name, int(meta.get("line", 0)), max(1, int(meta.get("col", 0)) - len(node.name) + 1))


def _parse_message(error: ParseError) -> str:
    if not error.errors:
        return f"The query can't be read: {error}"
    first = error.errors[0]
    near = str(first.get("highlight") or "")[:60]
    where = f"line {first.get('line')}, column {first.get('col')}"
    at = f", at {near!r}" if near else ""
    return f"The query can't be read: {where}{at}: {_described(str(first.get('description')))}"


def _described(text: str) -> str:
    """The parser's words without those for its own classes."""
    missing = re.fullmatch(r"Required keyword: '\w+' missing for <class '[\w.]*?(\w+)'>\.?", text)
    return f"{missing[1]} lacks an argument" if missing else text.rstrip(".")

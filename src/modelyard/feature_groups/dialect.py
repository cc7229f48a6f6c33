"""Where the two dialects say the same and mean something else: the query's tree is changed so that the meaning stays.

`sqlglot` translates names and shapes of functions; what is listed here are differences of meaning that it leaves alone.
Each rule says what users expect (Spark) and what the engine would do (DuckDB). `tests/feature_groups/golden_sql.py`
holds a query with its rows for each.
"""

from collections.abc import Callable

from sqlglot import exp

#: What Spark calls the units of `trunc`.
_UNITS = {"mm": "MONTH", "mon": "MONTH", "yyyy": "YEAR", "yy": "YEAR"}
#: Spark's pattern when none is given, as the parser notes it.
_DEFAULT_PATTERN = "%Y-%m-%d %H:%M:%S"
#: The parser's note that a number must have all its digits.
_STRICT = "strict"
_WHOLE = (exp.DType.INT, exp.DType.BIGINT, exp.DType.SMALLINT, exp.DType.TINYINT)


def adapt(tree: exp.Query) -> exp.Query:
    """The tree with the meaning kept; changes `tree` itself."""
    for hint in list(tree.find_all(exp.Hint)):
        hint.pop()  # advice to another engine's planner
    for kind, rule in _RULES.items():
        for node in list(tree.find_all(kind)):
            changed = rule(node)
            if changed is not node:
                node.replace(changed)
    return tree


def _as_date(node: exp.Expr) -> exp.Expr:
    """date_add, add_months: a date plus days is a date; the engine gives a moment."""
    return exp.cast(node.copy(), exp.DType.DATE)


def _day_of_week(node: exp.Expr) -> exp.Expr:
    """dayofweek: Sunday is 1; the engine says 0."""
    return exp.paren(exp.Add(this=node.copy(), expression=exp.Literal.number(1)), copy=False)


def _truncated(node: exp.Expr) -> exp.Expr:
    """trunc(date, 'MM'): the engine knows the unit as month, and gives a moment."""
    unit = node.args.get("unit")
    short = _UNITS.get(unit.name.lower()) if unit is not None else None
    copy = node.copy()
    if short:
        copy.set("unit", exp.Literal.string(short))
    return exp.cast(copy, exp.DType.DATE)


def _seconds(node: exp.Expr) -> exp.Expr:
    """unix_timestamp(x): x may be a moment or text; whole seconds, not fractions of them."""
    pattern = node.args.get("format")
    if pattern is None or pattern.name.replace(_STRICT, "") == _DEFAULT_PATTERN:
        moment = exp.cast(node.this.copy(), exp.DType.TIMESTAMP)
        seconds: exp.Expr = exp.Anonymous(this="EPOCH", expressions=[moment])
    else:
        seconds = node.copy()
    return exp.cast(exp.Anonymous(this="FLOOR", expressions=[seconds]), exp.DType.BIGINT)


def _null_for_zero(node: exp.Expr) -> exp.Expr:
    """A remainder or whole quotient of a division by zero is null; the engine raises."""
    changed = node.copy()
    divisor = changed.args["expression"]
    if not (isinstance(divisor, exp.Literal) and divisor.name.strip("0.")):
        changed.set("expression", exp.Nullif(this=divisor.copy(), expression=exp.Literal.number(0)))
    return changed


def _cut(node: exp.Expr) -> exp.Expr:
    """CAST(3.9 AS INT) is 3: the part behind the point is cut off; the engine rounds.

    Only where the operand holds no cast of its own, since it is written three times.
    """
    target, operand = node.args["to"], node.this
    if not target.is_type(*_WHOLE) or operand.find(exp.Cast, exp.TryCast, exp.Query) is not None:
        return node
    kind = exp.Anonymous(this="TYPEOF", expressions=[operand.copy()])
    is_fraction = exp.or_(
        exp.In(this=kind, expressions=[exp.Literal.string("DOUBLE"), exp.Literal.string("FLOAT")]),
        exp.Like(this=kind.copy(), expression=exp.Literal.string("DECIMAL%")),
    )
    number = exp.TryCast(this=operand.copy(), to=exp.DataType.build(exp.DType.DOUBLE))
    whole = exp.TryCast(this=exp.Anonymous(this="TRUNC", expressions=[number]), to=target.copy())
    return exp.Case(ifs=[exp.If(this=is_fraction, true=whole)], default=node.copy())


_RULES: dict[type[exp.Expr], Callable[[exp.Expr], exp.Expr]] = {
    exp.TsOrDsAdd: _as_date,
    exp.AddMonths: _as_date,
    exp.DayOfWeek: _day_of_week,
    exp.DateTrunc: _truncated,
    exp.StrToUnix: _seconds,
    exp.Mod: _null_for_zero,
    exp.IntDiv: _null_for_zero,
    exp.TryCast: _cut,
}

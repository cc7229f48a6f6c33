"""The dialect that users write, and where it says the same as the engine's and means something else.

`sqlglot` translates names and shapes of functions. What is listed here are differences of meaning that it leaves
alone: each rule says what users expect (Spark) and what the engine would do (DuckDB). Where the meaning depends on the
types of values, or takes a longer expression, the query calls a macro of the guest's (`sandbox.guest.spark_macros`).
`tests/feature_groups/golden_sql.py` holds a query with its rows for each.
"""

import re
from collections.abc import Callable

from sqlglot import exp
from sqlglot.dialects import Spark

from modelyard.errors import InvalidParameterError
from modelyard.feature_groups.queries.lambdas import LAMBDA_FUNCTIONS, LAMBDA_RULES
from modelyard.sandbox.guest.spark_macros import MACROS, PREFIX

#: Functions that the engine has under another name.
RENAMED = {
    "std": "stddev_samp", "kurtosis": "kurtosis_pop", "some": "bool_or", "every": "bool_and", "cardinality": "size",
}  # fmt: skip
#: Macros that users don't call by that name: what rules below write.
_INTERNAL = (
    "to_tinyint", "to_smallint", "to_int", "to_bigint", "to_double", "to_moment", "to_day", "later", "earlier",
    "months_apart", "or_one_null", "substring",
)  # fmt: skip
#: Functions that users call and macros answer.
ANSWERED = (frozenset(MACROS) | {"size"}) - set(_INTERNAL)


class Users(Spark):  # type: ignore[misc]  # sqlglot builds its dialects at run time
    """Spark's dialect, but for the functions that macros answer: these are kept as they are written."""

    class Tokenizer(Spark.Tokenizer):  # type: ignore[misc]
        """A quote that is written twice is one."""

        STRING_ESCAPES = ["'", '"', "\\"]  # noqa: RUF012 - as the class above has it

    class Parser(Spark.Parser):  # type: ignore[misc]
        """Leaves some functions as they are."""

        FUNCTIONS = {  # noqa: RUF012 - as the class above has it
            name: build
            for name, build in Spark.Parser.FUNCTIONS.items()
            if name.lower() not in ANSWERED and name.lower() not in RENAMED
        }


#: What Spark calls the units of `trunc` and `date_trunc`.
_UNITS = {
    "mm": "MONTH", "mon": "MONTH", "yyyy": "YEAR", "yy": "YEAR", "dd": "DAY",
}  # fmt: skip
#: Spark's pattern when none is given, as the parser notes it.
_DEFAULT_PATTERN = "%Y-%m-%d %H:%M:%S"
#: The parser's note that a number must have all its digits.
_STRICT = "strict"
_CASTS = {
    exp.DType.INT: "to_int", exp.DType.BIGINT: "to_bigint", exp.DType.SMALLINT: "to_smallint",
    exp.DType.TINYINT: "to_tinyint", exp.DType.DOUBLE: "to_double", exp.DType.DATE: "to_day",
    exp.DType.TIMESTAMP: "to_moment", exp.DType.TIMESTAMPTZ: "to_moment",
}  # fmt: skip
#: How a date is written that needs no second look.
_DATE = re.compile(r"\d{4}-\d\d-\d\d.*")
#: Units of an interval after which a date is still a date.
_DAYS = ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
#: Kinds of types that are no more than others by name: the session's zone is UTC, and moments carry none.
_MOMENTS = (exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPLTZ)


def adapt(tree: exp.Query) -> exp.Query:
    """The tree with the meaning kept; changes `tree` itself. InvalidParameterError names what has no counterpart."""
    for hint in list(tree.find_all(exp.Hint)):
        hint.pop()  # advice to another engine's planner
    # Deepest first: what a rule takes along has been changed already.
    for node in reversed(list(tree.walk())):
        for kind in type(node).__mro__:
            rule = _RULES.get(kind)
            if rule is not None:
                changed = rule(node)
                if changed is not node and node is not tree:
                    node.replace(changed)
                break
    return tree


def macro(name: str, *arguments: exp.Expr | None) -> exp.Anonymous:
    """A call of the guest's macro."""
    return exp.Anonymous(this=PREFIX + name, expressions=[each.copy() for each in arguments if each is not None])


def _named(node: exp.Expr) -> exp.Expr:
    """A function under the name that the user wrote: answered by a macro, or known under another name."""
    name = RENAMED.get(node.name.lower(), node.name.lower())
    if name in LAMBDA_FUNCTIONS and len(node.expressions) == LAMBDA_FUNCTIONS[name][0]:
        return LAMBDA_FUNCTIONS[name][1](node.expressions)
    if name == "size" and len(node.expressions) == 1:
        return _size(node.expressions[0])
    if name in MACROS:
        node.set("this", PREFIX + name)
    elif name != node.name.lower():
        node.set("this", name)
    return node


def _size(of: exp.Expr) -> exp.Expr:
    """size(x) of an array or a map; -1 where it is null."""
    if isinstance(of, exp.Null):
        return exp.Literal.number(-1)
    count = exp.cast(exp.Anonymous(this="CARDINALITY", expressions=[of.copy()]), exp.DType.BIGINT)
    return exp.Coalesce(this=count, expressions=[exp.Literal.number(-1)])


def _as_date(node: exp.Expr) -> exp.Expr:
    """date_add, add_months: a date plus days is a date; the engine gives a moment."""
    return exp.cast(node.copy(), exp.DType.DATE)


def _day_of_week(node: exp.Expr) -> exp.Expr:
    """dayofweek: Sunday is 1; the engine says 0."""
    return exp.paren(exp.Add(this=node.copy(), expression=exp.Literal.number(1)), copy=False)


def _extracted(node: exp.Expr) -> exp.Expr:
    """EXTRACT(DOW FROM day): Sunday is 1, as in dayofweek."""
    return _day_of_week(node) if node.name.upper() in ("DOW", "DAYOFWEEK") else node


def _truncated(node: exp.Expr) -> exp.Expr:
    """trunc(date, 'MM'): the engine knows the unit as month, and gives a moment."""
    return exp.cast(_long_unit(node).copy(), exp.DType.DATE)


def _truncated_moment(node: exp.Expr) -> exp.Expr:
    """date_trunc('MM', x): a moment, whatever x is."""
    node = _long_unit(node)
    node.set("this", macro("to_moment", node.this))
    return node


def _long_unit(node: exp.Expr) -> exp.Expr:
    unit = node.args.get("unit")
    short = _UNITS.get(unit.name.lower()) if unit is not None else None
    if short:
        node.set("unit", exp.Literal.string(short))
    return node


def _difference(node: exp.Expr) -> exp.Expr:
    """datediff(MONTH, a, b): whole months that have passed; the engine counts the borders between them."""
    unit = node.args.get("unit")
    if unit is None or (isinstance(node, exp.DateDiff) and unit.name.upper() == "DAY"):
        return node
    moments = [macro("to_moment", node.args[name]) for name in ("expression", "this")]
    return exp.Anonymous(this="DATE_SUB", expressions=[exp.Literal.string(unit.name.lower()), *moments])


def _seconds(node: exp.Expr) -> exp.Expr:
    """unix_timestamp(x): x may be a moment or text; whole seconds, not fractions of them."""
    pattern = node.args.get("format")
    if pattern is None or pattern.name.replace(_STRICT, "") == _DEFAULT_PATTERN:
        moment: exp.Expr = macro("to_moment", node.this)
    else:
        moment = exp.Anonymous(this="TRY_STRPTIME", expressions=[node.this.copy(), _pattern(pattern)])
    seconds = exp.Anonymous(this="EPOCH", expressions=[moment])
    return exp.cast(exp.Anonymous(this="FLOOR", expressions=[seconds]), exp.DType.BIGINT)


def _moment_of_text(node: exp.Expr) -> exp.Expr:
    """to_timestamp(text, pattern): null where the text does not fit; the engine raises."""
    return exp.Anonymous(this="TRY_STRPTIME", expressions=[node.this.copy(), _pattern(node.args["format"])])


def _pattern(pattern: exp.Expr) -> exp.Expr:
    return exp.Literal.string(pattern.name.replace(_STRICT, "")) if pattern.is_string else pattern.copy()


def _null_for_zero(node: exp.Expr) -> exp.Expr:
    """A remainder or whole quotient of a division by zero is null; the engine raises."""
    divisor = node.args["expression"]
    if not (isinstance(divisor, exp.Literal) and divisor.name.strip("0.")):
        node.set("expression", exp.Nullif(this=divisor.copy(), expression=exp.Literal.number(0)))
    return _number_of_text(node)


def _number_of_text(node: exp.Expr) -> exp.Expr:
    """'1' + 1: text that stands beside an operator of arithmetic is a number; the engine refuses it."""
    for side in ("this", "expression"):
        operand = node.args.get(side)
        if operand is not None and operand.is_string:
            node.set(side, macro("to_double", operand))
    return _plus_interval(node) if isinstance(node, exp.Add | exp.Sub) else node


def _plus_interval(node: exp.Expr) -> exp.Expr:
    """A date and an interval of days is a date; the engine gives a moment.

    Types of aggregates are not known where overloads are chosen; what they give stays a moment, at midnight.
    """
    operand, interval = node.this, node.args["expression"]
    if isinstance(operand, exp.Interval) and isinstance(node, exp.Add):
        operand, interval = interval, operand
    if not isinstance(interval, exp.Interval) or isinstance(operand, exp.Interval):
        return node
    unit = str(interval.args.get("unit") or "").upper().removesuffix("S")
    if unit not in _DAYS or operand.find(exp.AggFunc, exp.Query, exp.Window) is not None:
        return node
    return macro("later" if isinstance(node, exp.Add) else "earlier", operand, interval)


def _any(node: exp.Expr) -> exp.Expr:
    """any(x) of a group is bool_or(x); the engine knows ANY in comparisons alone."""
    if isinstance(node.parent, exp.Predicate | exp.Binary) or not isinstance(node.this, exp.Paren):
        return node
    return exp.Anonymous(this="BOOL_OR", expressions=[node.this.this.copy()])


def _negative(node: exp.Expr) -> exp.Expr:
    """-'3' is a number."""
    if node.this.is_string:
        node.set("this", macro("to_double", node.this))
    return node


def _cast(node: exp.Expr) -> exp.Expr:
    """CAST(3.9 AS INT) is 3, CAST('1.7' AS INT) is 1; the engine rounds. Moments are seconds as numbers.

    What can't be cast is null (ANSI mode off), and so is a number that does not fit.
    """
    target = node.args["to"]
    name = _CASTS.get(target.this) if not target.expressions else None
    if name is None or isinstance(node.this, exp.Null):
        return node
    if node.this.is_string and name in ("to_day", "to_moment") and _DATE.fullmatch(node.this.name):
        return node
    return macro(name, node.this)


def _type(node: exp.Expr) -> exp.Expr:
    if node.this in _MOMENTS:
        node.set("this", exp.DType.TIMESTAMP)
    return node


def _collected(node: exp.Expr) -> exp.Expr:
    """collect_list of no rows is an empty array; the engine gives null."""
    top = node
    while isinstance(top.parent, exp.Filter | exp.Window | exp.WithinGroup) and top.parent.this is top:
        top = top.parent
    if not isinstance(top.parent, exp.Coalesce):
        top.replace(exp.Coalesce(this=top.copy(), expressions=[exp.Array(expressions=[])]))
    return node


def _like(node: exp.Expr) -> exp.Expr:
    r"""LIKE 'a\_b': a backslash takes away the meaning of _ and %; the engine knows no such sign unless it is named."""
    pattern = node.args.get("expression")
    if isinstance(node.parent, exp.Escape) or pattern is None or not pattern.is_string or "\\" not in pattern.name:
        return node
    return exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))


def _groups_of_pattern(node: exp.Expr) -> exp.Expr:
    r"""regexp_replace(x, p, '$1'): groups are called $1; the engine calls them \1."""
    replacement = node.args.get("replacement")
    if replacement is not None and replacement.is_string:
        text = re.sub(r"\$(\d)", r"\\\1", replacement.name.replace("\\", "\\\\"))
        node.set("replacement", exp.Literal.string(text))
    return node


def _split(node: exp.Expr) -> exp.Expr:
    """split(x, p, n) has no counterpart."""
    if node.args.get("limit") is not None and node.args["limit"].sql() != "-1":
        raise InvalidParameterError("split takes no limit here; split(x, p) gives all parts, slice() some of them")
    return node


def _substring(node: exp.Expr) -> exp.Expr:
    """substring(x, 0, 2) begins with the first sign, as 1 does; the engine begins before it."""
    start = node.args.get("start")
    if isinstance(start, exp.Literal) and start.name != "0":
        return node
    return macro("substring", node.this, start, node.args.get("length"))


def _window(node: exp.Expr) -> exp.Expr:
    """last(x, true) OVER (...): the engine passes over nulls only in last_value."""
    inner = node.this
    if isinstance(inner, exp.IgnoreNulls) and isinstance(inner.this, exp.First | exp.Last):
        kind = exp.FirstValue if isinstance(inner.this, exp.First) else exp.LastValue
        inner.set("this", kind(this=inner.this.this.copy()))
    return node


def _with_rollup(node: exp.Expr) -> exp.Expr:
    """GROUP BY a WITH ROLLUP: the engine knows ROLLUP (a)."""
    for name in ("rollup", "cube"):
        for each in node.args.get(name) or []:
            if not each.expressions and node.expressions:
                each.set("expressions", [column.copy() for column in node.expressions])
                node.set("expressions", [])
    return node


def _lateral(node: exp.Expr) -> exp.Expr:
    """LATERAL VIEW OUTER explode(x): a row with null where x is empty; the engine gives none."""
    if node.args.get("outer") and isinstance(node.this, exp.Explode):
        node.this.set("this", macro("or_one_null", node.this.this))
    return node


def _explode_outer(node: exp.Expr) -> exp.Expr:
    """explode_outer(x): a row with null where x is empty."""
    kind = exp.Posexplode if isinstance(node, exp.PosexplodeOuter) else exp.Explode
    return kind(this=macro("or_one_null", node.this))


def _several_columns(node: exp.Expr) -> exp.Expr:
    """SELECT explode(map) AS (k, v) has no counterpart."""
    if isinstance(node.this, exp.Posexplode):
        return node
    raise InvalidParameterError(
        f"{node.sql(dialect=Spark)[:100]}: one expression gives one column here; select explode(map_entries(m)) and "
        "take its key and value"
    )


def _values(node: exp.Expr) -> exp.Expr:
    """VALUES (1), (2): the columns are called col1, col2; the engine begins with col0."""
    alias, rows = node.args.get("alias"), node.expressions
    if not rows or (alias is not None and alias.columns):
        return node
    width = len(rows[0].expressions) if isinstance(rows[0], exp.Tuple) else 1
    columns = [exp.to_identifier(f"col{number}") for number in range(1, width + 1)]
    name = alias.this.copy() if alias is not None and alias.this else exp.to_identifier("vals")
    node.set("alias", exp.TableAlias(this=name, columns=columns))
    return node


def _table(node: exp.Expr) -> exp.Expr:
    """FROM range(3): the column is called id; the engine calls it range."""
    if isinstance(node.this, exp.Func) and node.this.sql().partition("(")[0].lower() == "range":
        name = exp.to_identifier(node.alias or "range")
        node.set("alias", exp.TableAlias(this=name, columns=[exp.to_identifier("id")]))
    return node


def _reversed(node: exp.Expr) -> exp.Expr:
    """reverse(array): the engine's reverse is for text."""
    if isinstance(node.this, _ARRAYS):
        return exp.Anonymous(this="LIST_REVERSE", expressions=[node.this.copy()])
    return node


_ARRAYS = (exp.Array, exp.ArrayAgg, exp.ArrayConcat, exp.Transform, exp.ArrayFilter)
_RULES: dict[type, Callable[[exp.Expr], exp.Expr]] = {
    exp.Anonymous: _named,
    exp.TsOrDsAdd: _as_date,
    exp.AddMonths: _as_date,
    exp.DayOfWeek: _day_of_week,
    exp.Extract: _extracted,
    exp.DateTrunc: _truncated,
    exp.TimestampTrunc: _truncated_moment,
    exp.DateDiff: _difference,
    exp.TimestampDiff: _difference,
    exp.StrToUnix: _seconds,
    exp.StrToTime: _moment_of_text,
    exp.Mod: _null_for_zero,
    exp.IntDiv: _null_for_zero,
    exp.Div: _number_of_text,
    exp.Mul: _number_of_text,
    exp.Add: _number_of_text,
    exp.Sub: _number_of_text,
    exp.Cast: _cast,
    exp.DataType: _type,
    exp.ArrayAgg: _collected,
    exp.ArrayUniqueAgg: _collected,
    exp.Like: _like,
    exp.ILike: _like,
    exp.RegexpReplace: _groups_of_pattern,
    exp.Split: _split,
    exp.RegexpSplit: _split,
    exp.Substring: _substring,
    exp.Window: _window,
    exp.Group: _with_rollup,
    exp.Lateral: _lateral,
    exp.ExplodeOuter: _explode_outer,
    exp.PosexplodeOuter: _explode_outer,
    exp.Aliases: _several_columns,
    exp.Values: _values,
    exp.Table: _table,
    exp.Reverse: _reversed,
    exp.Any: _any,
    exp.Neg: _negative,
    **LAMBDA_RULES,
}

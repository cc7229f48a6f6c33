"""Functions that take functions, such as `zip_with(a, b, (x, y) -> x + y)`, said with the few that the engine has.

The engine's lambdas run over one array, and count from 1 where they take a position. Everything else becomes such a
lambda over pairs or entries, its parameters replaced in the body by what they stand for.
"""

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from modelyard.errors import InvalidParameterError

#: The one parameter of a lambda that is written here; no user's name begins so.
_EACH = "modelyard_each"


def _call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=[each.copy() for each in arguments])


def _each(body: exp.Expr) -> exp.Lambda:
    return exp.Lambda(this=body, expressions=[exp.to_identifier(_EACH)])


def _field(name: str) -> exp.Expr:
    return exp.Bracket(this=exp.to_identifier(_EACH), expressions=[exp.Literal.string(name)])


def _place(number: int) -> exp.Expr:
    return _call("STRUCT_EXTRACT_AT", exp.to_identifier(_EACH), exp.Literal.number(number))


def _parameters(node: exp.Expr | None, function: str, *counts: int) -> list[str]:
    if not isinstance(node, exp.Lambda) or len(node.expressions) not in counts:
        raise InvalidParameterError(
            f"{function} needs a function of {' or '.join(map(str, counts))} parameters, such as x -> x + 1"
        )
    return [each.name for each in node.expressions]


def _body(node: exp.Expr, values: Mapping[str, exp.Expr]) -> exp.Expr:
    """The lambda's body with its parameters replaced."""
    assert isinstance(node, exp.Lambda)
    holder = exp.Paren(this=node.this.copy())
    for name in list(holder.find_all(exp.Identifier)):
        if name.name in values and not _is_field(name):
            target = name.parent if isinstance(name.parent, exp.Column) and name.parent.this is name else name
            target.replace(values[name.name].copy())
    return holder


def _is_field(name: exp.Identifier) -> bool:
    """Whether the name is the field of a value, and no value itself."""
    return isinstance(name.parent, exp.Dot) and name.parent.expression is name


def _from_zero(node: exp.Expr) -> exp.Expr:
    """transform(a, (x, i) -> ...), filter(a, (x, i) -> ...): i counts from 0; the engine counts from 1."""
    function = node.args.get("expression")
    if isinstance(function, exp.Lambda) and len(function.expressions) == 2:
        place = function.expressions[1]
        before = exp.Paren(this=exp.Sub(this=place.copy(), expression=exp.Literal.number(1)))
        function.set("this", _body(function, {place.name: before}))
    return node


def _exists(node: exp.Expr) -> exp.Expr:
    """exists(a, x -> ...): the engine knows EXISTS of a query alone."""
    function = node.args.get("expression")
    if function is None:
        return node
    _parameters(function, "exists", 1)
    return _call("LIST_BOOL_OR", _call("LIST_TRANSFORM", node.this, function))


def _reduce(node: exp.Expr) -> exp.Expr:
    """aggregate(a, start, merge, finish): the engine has no finish."""
    finish = node.args.get("finish")
    if finish is None:
        return node
    [name] = _parameters(finish, "aggregate", 1)
    node.set("finish", None)
    return _body(finish, {name: node})


def _forall(arguments: Sequence[exp.Expr]) -> exp.Expr:
    _parameters(arguments[1], "forall", 1)
    return _call("LIST_BOOL_AND", _call("LIST_TRANSFORM", *arguments))


def _zip_with(arguments: Sequence[exp.Expr]) -> exp.Expr:
    first, second = _parameters(arguments[2], "zip_with", 2)
    body = _body(arguments[2], {first: _place(1), second: _place(2)})
    return _call("LIST_TRANSFORM", _call("LIST_ZIP", arguments[0], arguments[1]), _each(body))


def _of_entries(arguments: Sequence[exp.Expr], function: str) -> exp.Expr:
    key, value = _parameters(arguments[1], function, 2)
    return _body(arguments[1], {key: _field("key"), value: _field("value")})


def _map_filter(arguments: Sequence[exp.Expr]) -> exp.Expr:
    kept = _call("LIST_FILTER", _call("MAP_ENTRIES", arguments[0]), _each(_of_entries(arguments, "map_filter")))
    return _call("MAP_FROM_ENTRIES", kept)


def _transform_values(arguments: Sequence[exp.Expr]) -> exp.Expr:
    return _entries(arguments[0], _field("key"), _of_entries(arguments, "transform_values"))


def _transform_keys(arguments: Sequence[exp.Expr]) -> exp.Expr:
    return _entries(arguments[0], _of_entries(arguments, "transform_keys"), _field("value"))


def _entries(of: exp.Expr, key: exp.Expr, value: exp.Expr) -> exp.Expr:
    entry = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier("key"), expression=key),
            exp.PropertyEQ(this=exp.to_identifier("value"), expression=value),
        ]
    )
    return _call("MAP_FROM_ENTRIES", _call("LIST_TRANSFORM", _call("MAP_ENTRIES", of), _each(entry)))


#: Function -> how many arguments it takes, and what it becomes.
LAMBDA_FUNCTIONS: dict[str, tuple[int, Callable[[Sequence[exp.Expr]], exp.Expr]]] = {
    "forall": (2, _forall),
    "zip_with": (3, _zip_with),
    "map_filter": (2, _map_filter),
    "transform_values": (2, _transform_values),
    "transform_keys": (2, _transform_keys),
}
LAMBDA_RULES: dict[type, Callable[[exp.Expr], exp.Expr]] = {
    exp.Transform: _from_zero,
    exp.ArrayFilter: _from_zero,
    exp.Exists: _exists,
    exp.Reduce: _reduce,
}

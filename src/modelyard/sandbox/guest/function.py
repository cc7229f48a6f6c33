"""The task `function`: a Python feature group's function over its tables; the DataFrame it returns is written down."""

from typing import TYPE_CHECKING, Any

from . import frames, parts, results, source
from .inputs import load_tables
from .train import check_call

if TYPE_CHECKING:
    from .work import Work


def function(work: "Work") -> dict[str, object]:
    """Message: source, module_name, function, tables [{name, form?, keyword?}], arguments, modules; one file per table.

    A table with a `keyword` is passed under that name, the others by position in their order; `arguments` by name.
    """
    message: dict[str, Any] = work.message
    module = source.load(work.text("source"), message.get("module_name") or "function", message.get("modules"))
    user_function = source.function(module, work.text("function"))
    tables: list[dict[str, Any]] = message.get("tables") or []
    named = {table["keyword"]: at for at, table in enumerate(tables) if table.get("keyword")}
    placed = [at for at, table in enumerate(tables) if not table.get("keyword")]
    arguments = dict(message.get("arguments") or {})
    check_call(user_function, [tables[at]["name"] for at in placed], {**named, **arguments})
    by_place = load_tables(user_function, [tables[at] for at in placed], [work.fds[at] for at in placed])
    by_name = {
        keyword: frames.load(work.fds[at], tables[at].get("form") or frames.form_for(user_function, keyword))
        for keyword, at in named.items()
    }
    work.started()
    found = user_function(*by_place, **by_name, **arguments)
    table = results.to_arrow(found, work.text("function"))
    # The table is in memory already, so keeping it costs nothing.
    return parts.write_table(table.schema, table.to_batches(), parts.sizes_for(work, table.nbytes))

"""What a guest can be asked to do: names of tasks and the functions that do them, each loaded when asked for."""

import importlib
from collections.abc import Callable
from typing import Any

#: Task -> module of this package and function in it, a function of a `work.Work` that gives the result.
TASKS = {
    "train": "train:train",
    "trial_import": "trial:trial_import",
    "trial_train": "trial:trial_train",
    "trial_initialize": "trial:trial_initialize",
    "trial_predict": "trial:trial_predict",
    "trial_predict_many": "trial:trial_predict_many",
    "importance_begin": "importance:importance_begin",
    "importance_of": "importance:importance_of",
    "function": "function:function",
    "replica": "replica:replica",
    "lookup": "lookup:lookup",
    "predict_table": "predict_table:predict_table",
    "predict_chunks": "predict_table:predict_chunks",
    "result_open": "result_lines:result_open",
    "result_lines": "result_lines:result_lines",
    "table_open": "result_table:table_open",
    "table_add": "result_table:table_add",
    "table_close": "result_table:table_close",
    "import_table": "tables:import_table",
    "sql": "tables:sql",
    "arrow_twin": "tables:arrow_twin",
    "encode_avro": "tables:encode_avro",
    "export_table": "table_out:export_table",
    "write_database": "database_write:write_database",
    "unpack_code": "code_archives:unpack_code",
    "measure_table": "metrics:measure_table",
    "first_row": "first_row:first_row",
}

#: Modules that a waiting guest loads before it is asked: what trainings and replicas need in their first moments.
EARLY = ("train", "function", "replica")


def load_early() -> None:
    """Loads them; from sources that nobody has compiled this takes longer than the rest of a warm start."""
    for name in EARLY:
        importlib.import_module(f".{name}", __package__)


def find(task: str) -> Callable[[Any], dict[str, object] | None]:
    """The function behind a task; LookupError if there is none."""
    if task not in TASKS:
        raise LookupError(f"no task {task!r}")
    module, _, name = TASKS[task].partition(":")
    found: Callable[[Any], dict[str, object] | None] = getattr(importlib.import_module(f".{module}", __package__), name)
    return found

"""The task `train`: the user's `train` function over its tables; its return value pickled, its metrics read.

The host takes the artifact and the files of the working directory afterwards, from the scratch folder, and trusts
nothing of this answer but its shape.
"""

import inspect
import json
import math
import os
import pickle
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import seeding, source
from .code import Code, open_code
from .failures import Refused, Unpicklable
from .inputs import load_tables
from .stored import unpack

if TYPE_CHECKING:
    from .work import Work

#: The pickled return value, relative to the working directory.
ARTIFACT = ".modelyard/artifact.pkl"
_METRICS_LIMIT = 8 * 1024**2
_FILES_LIMIT = 10_000
_DEPTH_LIMIT = 64


def train(work: "Work") -> dict[str, object]:
    """Message: as `code.open_code`, train_function, predict_function, tables [{name, form?}], config, files, seed.

    Files: those of the code, the archive of files to begin with if the message says so, one per table.
    """
    message: dict[str, Any] = work.message
    seeding.begin(message.get("seed") or 0)
    code, rest = open_code(message, work.fds)
    if message.get("files"):
        unpack(rest.pop(0))
    function = code.function("train", work.text("train_function"))
    predict_takes_tables = wants_tables(code, message)
    tables = load_tables(function, message.get("tables") or [], rest)
    keywords = {"training_config": message.get("config") or {}} if source.accepts(function, "training_config") else {}
    check_call(function, [table["name"] for table in message.get("tables") or []], keywords)
    seeding.begin(message.get("seed") or 0)  # again: what the imports drew has no say, and they may have loaded numpy
    work.started()
    model = function(*tables, **keywords)
    del tables
    size = store(model)
    return {
        "artifact": {"path": ARTIFACT, "size": size},
        "metrics": read_metrics(),
        "files": left_files(),
        "predict_takes_tables": predict_takes_tables,
    }


def wants_tables(code: Code, message: dict[str, Any]) -> bool:
    """Whether the predict function takes the tables after model and query: it does if it can't be called without.

    A training on other tables than its model's may bring a number that does not fit; that is refused here, before all
    the work. Source: updatePythonModel, "arguments to the `train` and `predict` functions".
    """
    name, count = message.get("predict_function"), len(message.get("tables") or [])
    if not name:
        return False
    function = code.function("predict", name)
    required = source.count_required(function)
    if required > 2 and required != 2 + count:
        raise Refused(
            f"{name}{inspect.signature(function)} takes {required - 2} table(s) after model and query, "
            f"and the training has {count}.",
            "TypeError",
        )
    return required > 2


def check_call(function: Callable[..., object], names: list[str], keywords: dict[str, Any]) -> None:
    """Refuses, in the user's words, a number of tables that the function does not take."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*names, **keywords)
    except TypeError as error:
        name = getattr(function, "__name__", "the function")
        listed = f" ({', '.join(names)})" if names else ""
        raise Refused(
            f"{name}{signature} can't be called with {len(names)} input table(s){listed}: {error}.", "TypeError"
        ) from None


def store(model: object) -> int:
    """Pickles what the function returned, lambdas and the like by cloudpickle if it is there; gives the size."""
    os.makedirs(os.path.dirname(ARTIFACT), exist_ok=True)
    try:
        _dump(model, pickle.Pickler)
    except Exception as first:  # noqa: BLE001 - __reduce__ is user code and may raise anything
        try:
            import cloudpickle

            _dump(model, cloudpickle.Pickler)
        except Exception:  # noqa: BLE001 - as above, or cloudpickle is not in this environment
            raise Unpicklable(_complaint(model, first)) from first
    return os.stat(ARTIFACT).st_size


def _dump(model: object, pickler: Any) -> None:
    with open(ARTIFACT, "wb") as target:
        pickler(target, protocol=5).dump(model)


def _complaint(model: object, error: Exception) -> str:
    kind = f"{type(model).__module__}.{type(model).__qualname__}".removeprefix("builtins.").removeprefix(
        f"{source.MODULE}."
    )
    try:
        reason = str(error)[:1000]
    except Exception:  # noqa: BLE001 - the user's own exception
        reason = type(error).__name__
    return (
        f"The function returned an object of type {kind} that can't be pickled: {reason}. Return plain data and fitted "
        "models; open connections, locks, generators and files can't be stored: make those in `initialize`."
    )


def read_metrics() -> dict[str, object]:
    """What the user wrote to metrics.json (name -> number) and metrics.jsonl (one object a step)."""
    final = _read("metrics.json", lambda text: _numbers(json.loads(text)))
    steps = _read("metrics.jsonl", _steps)
    return {"final": final or {}, "steps": steps or []}


def _read(name: str, parse: Callable[[str], Any]) -> Any:
    try:
        if not os.path.isfile(name):
            return None
        if os.stat(name).st_size > _METRICS_LIMIT:
            raise ValueError(f"it is larger than {_METRICS_LIMIT} bytes")
        with open(name, encoding="utf-8") as file:
            return parse(file.read())
    except (OSError, ValueError, RecursionError) as error:
        print(f"{name} was not read as metrics: {error}", file=sys.stderr)
        return None


def _numbers(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError("it must hold one object of names and numbers")  # noqa: TRY004 - of a file, not of an argument
    for name, number in value.items():
        if not _is_number(number):
            raise ValueError(f"{name!r} is not a finite number")
    return value


def _steps(text: str) -> list[dict[str, object]]:
    return [_step(json.loads(line)) for line in text.splitlines() if line.strip()]


def _step(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("each line must hold one object")  # noqa: TRY004 - likewise
    return {name: entry for name, entry in value.items() if isinstance(entry, str | bool) or _is_number(entry)}


def _is_number(value: object) -> bool:
    """Whether it is a finite number that JSON readers elsewhere can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


def left_files() -> list[str]:
    """Names of the files that the user left in the working directory, some thousands at most."""
    found: list[str] = []
    pending = [("", 0)]
    while pending and len(found) < _FILES_LIMIT:
        folder, depth = pending.pop()
        try:
            entries = list(os.scandir(folder or "."))
        except OSError:
            continue
        for entry in entries:
            name = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False) and name != ".modelyard" and depth < _DEPTH_LIMIT:
                pending.append((f"{name}/", depth + 1))
            elif entry.is_file(follow_symlinks=False):
                found.append(name)
    return sorted(found)

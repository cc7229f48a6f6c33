"""The task `train`: the user's `train` function over its tables; its return value pickled, its metrics read.

The host takes the artifact and the files of the working directory afterwards, from the scratch folder, and trusts
nothing of this answer but its shape.
"""

import contextlib
import inspect
import os
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import artifacts, curves, seeding, source
from .code import Code, open_code
from .failures import Refused, Unpicklable
from .imports import first_imports
from .inputs import load_tables
from .stored import unpack

if TYPE_CHECKING:
    from .work import Work

#: The pickled return value, relative to the working directory.
ARTIFACT = ".modelyard/artifact.pkl"
_FILES_LIMIT = 10_000
_DEPTH_LIMIT = 64


def train(work: "Work") -> dict[str, object]:
    """Message: as `code.open_code`, train_function, predict_function, tables [{name, form?}], config, files, seed,
    metric_bounds {size, steps}, tells_steps (what `metrics.jsonl` gets is sent while `train` goes on).

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
    bounds = curves.Bounds(**message.get("metric_bounds") or {})
    following = curves.followed(work.tell_steps, bounds) if message.get("tells_steps") else contextlib.nullcontext()
    with following:
        model = function(*tables, **keywords)
    del tables
    size = store(model)
    return {
        "artifact": {"path": ARTIFACT, "size": size},
        "metrics": curves.read_metrics(bounds),
        "files": left_files(),
        "predict_takes_tables": predict_takes_tables,
        "imports": first_imports(message, "train"),
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
        artifacts.dump(model, ARTIFACT, pickle.Pickler)
    except Exception as first:  # noqa: BLE001 - __reduce__ is user code and may raise anything
        try:
            import cloudpickle

            artifacts.dump(model, ARTIFACT, cloudpickle.Pickler)
        except Exception:  # noqa: BLE001 - as above, or cloudpickle is not in this environment
            raise Unpicklable(_complaint(model, first)) from first
    return os.stat(ARTIFACT).st_size


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

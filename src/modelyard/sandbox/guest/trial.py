"""The tasks of a dry run: a source imported, trained and asked on a sample of rows, one stage a call, in one guest.

The host asks for the stages one after the other, so it knows how far it has come and what each took. Between training
and prediction the source is executed anew and the model goes through its pickle, as it does when it is served: what
`train` only left in a global variable is missed here already.
"""

import json
import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import answers, curves, frames, seeding, source
from .code import Code, forget_executed, open_code
from .failures import Refused
from .model import Model, unpickle
from .train import ARTIFACT, check_call, store, wants_tables

if TYPE_CHECKING:
    from .work import Work

#: Bytes of JSON of an answer that are shown.
_SHOWN = 10_000


@dataclass
class _Trial:
    """The one trial of this guest."""

    message: dict[str, Any]
    code: Code
    #: The samples of the tables, as Arrow.
    samples: list[Any]
    predict_takes_tables: bool = False
    models: list[Model] = field(default_factory=list)


_trials: list[_Trial] = []


def trial_import(work: "Work") -> dict[str, object]:
    """Message: as `train`, and predict_many_function, initialize_function, sample_rows, query. Files: as `train`."""
    message: dict[str, Any] = work.message
    seeding.begin(message.get("seed") or 0)
    rows, wanted = [], int(message["sample_rows"])
    samples = []
    code, descriptors = open_code(message, work.fds)
    for descriptor in descriptors:
        table, _ = frames.read_arrow(descriptor)
        rows.append(table.num_rows)
        samples.append(_sample(table, wanted, int(message.get("seed") or 0)))
    for role in ("train", "predict", "predict_many", "initialize"):
        if message.get(f"{role}_function"):
            code.function(role, message[f"{role}_function"])
    _trials[:] = [_Trial(message, code, samples, wants_tables(code, message))]
    return {"rows": rows, "sampled": [each.num_rows for each in samples]}


def trial_train(work: "Work") -> dict[str, object]:
    """Message: nothing. Trains on the samples and pickles what comes back."""
    trial = _trials[0]
    message = trial.message
    function = trial.code.function("train", message["train_function"])
    accepts = source.accepts(function, "training_config")
    keywords = {"training_config": message.get("config") or {}} if accepts else {}
    check_call(function, [table["name"] for table in message["tables"]], keywords)
    tables = _shaped(trial, function, 0)
    seeding.begin(message.get("seed") or 0)
    work.started()
    size = store(function(*tables, **keywords))
    return {"size": size, "metrics": curves.read_metrics(curves.Bounds())["final"]}


def trial_initialize(work: "Work") -> dict[str, object]:
    """Message: nothing. Brings the model back to life from its pickle, in a source that is executed anew."""
    del work
    trial = _trials[0]
    code = forget_executed(trial.message, trial.code)
    functions = [
        code.function(role, name) if (name := trial.message.get(f"{role}_function")) else None
        for role in ("predict", "predict_many", "initialize")
    ]
    predict, predict_many, initialize = functions
    trained, _ = unpickle(os.open(ARTIFACT, os.O_RDONLY), None)
    tables = _shaped(trial, predict, 2) if predict is not None and trial.predict_takes_tables else []
    trial.models[:] = [Model(initialize(trained) if initialize else trained, predict, predict_many, tables)]
    return {}


def trial_predict(work: "Work") -> dict[str, object]:
    """Message: nothing. One query: the one that was given, or the first row of the first table."""
    del work
    trial = _trials[0]
    query = trial.message.get("query")
    if query is None:
        query = json.loads(answers.to_json(trial.samples[0].slice(0, 1).to_pylist()[0]))
    return {"query": json.dumps(query)[:_SHOWN], **_shown(trial.models[0].predict(query, {}))}


def trial_predict_many(work: "Work") -> dict[str, object]:
    """Message: rows. The first rows of the first table at once, as in a batch prediction; or the query alone."""
    trial = _trials[0]
    model = trial.models[0]
    if trial.message.get("query") is not None or not trial.samples:
        results = model.predict_many([trial.message["query"]], {})
        return {"count": 1, **_shown(list(results))}
    part = trial.samples[0].slice(0, int(work.message["rows"]))  # type: ignore[call-overload]  # a number, by the host
    rows = part.to_pylist() if model.many_form == "list" else frames.shape(part, None, model.many_form)
    return {"count": part.num_rows, **_shown(list(model.predict_frame(rows, part.num_rows, {})))}


def _sample(table: Any, wanted: int, seed: int) -> Any:
    """So many rows from all over the table, in their order; only they are copied out of the mapping."""
    if table.num_rows <= wanted:
        return table
    chosen = sorted(random.Random(seed).sample(range(table.num_rows), wanted))
    return table.take(chosen)


def _shaped(trial: _Trial, function: Any, first: int) -> list[Any]:
    return [
        frames.shape(sample, None, frames.form_for(function, position))
        for position, sample in enumerate(trial.samples, first)
    ]


def _shown(answer: object) -> dict[str, object]:
    """The answer as JSON, as a caller would get it; of a long one its size alone."""
    encoded = answers.to_json(answer)
    try:
        text = encoded.decode()
    except UnicodeDecodeError as error:
        raise Refused("The answer holds half of a surrogate pair, which is no character.", "ValueError") from error
    return {"bytes": len(encoded), "answer": text if len(encoded) <= _SHOWN else None}

"""The tasks `importance_begin` and `importance_of`: how much worse a model predicts when a column tells it nothing.

`importance_begin` brings the model to life, draws the sample and scores the predictions on it; each `importance_of`
then exchanges one column's values among the rows of the sample, as often as was asked for, and gives what that costs.
"""

import decimal
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import frames, model, seeding
from .failures import Refused

if TYPE_CHECKING:
    from .work import Work

#: Most distinct values of a target that are taken for classes where numbers could be either.
_CLASSES = 50
#: Keys under which a dict's prediction is looked for, after the target's own name.
_KEYS = ("predicted_{}", "{}_predicted", "{}_prediction", "prediction")

#: A prediction or a true value, as it is compared.
Value = float | str


@dataclass
class _Study:
    """The one study of this guest."""

    model: model.Model
    arguments: dict[str, Any]
    target: str
    #: The sample without its target, and that target.
    features: Any
    truth: list[Value]
    repeats: int
    seed: int
    is_accuracy: bool = False
    score: float = 0.0


_studies: list[_Study] = []


def importance_begin(work: "Work") -> dict[str, object]:
    """Message: as `model.load`, and target, rows, repeats, seed, arguments; files: the table, then those of the model.

    Answers the rows of the sample, the metric (R2 or ACCURACY) and the score on the sample as it is.
    """
    message: dict[str, Any] = work.message
    table_fd, *rest = work.fds
    work.started()
    loaded = model.load(message, rest)
    table, _ = frames.read_arrow(table_fd)
    target, seed = str(message["target"]), int(message["seed"])
    sample = _sample(table, target, int(message["rows"]), seed)
    truth = _truth(sample.column(target).to_pylist(), target)
    features = sample.drop_columns([target])
    arguments = message.get("arguments") or {}
    study = _Study(loaded, arguments, target, features, truth, int(message["repeats"]), seed)
    predictions = _predictions(study, features)
    study.is_accuracy = _is_accuracy(study, predictions)
    study.score = _score(study, predictions)
    _studies[:] = [study]
    return {"rows": len(truth), "metric": "ACCURACY" if study.is_accuracy else "R2", "score": study.score}


def importance_of(work: "Work") -> dict[str, object]:
    """Message: column. Answers what the score loses, a number for each repeat; none for a column of one value."""
    study, name = _studies[0], work.text("column")
    place = study.features.column_names.index(name)
    column = study.features.column(place)
    if all(value == column[0] for value in column):
        return {"losses": []}
    generator = random.Random(f"{study.seed}/{name}")
    losses = []
    for _ in range(study.repeats):
        order = list(range(len(column)))
        generator.shuffle(order)
        exchanged = study.features.set_column(place, name, column.take(order))
        losses.append(study.score - _score(study, _predictions(study, exchanged)))
    return {"losses": losses}


def _sample(table: Any, target: str, wanted: int, seed: int) -> Any:
    """So many rows from all over the table whose target is known, in their order."""
    import pyarrow.compute

    column = table.column(target)
    known = pyarrow.compute.is_valid(column)
    if str(column.type) in ("double", "float", "halffloat"):
        known = pyarrow.compute.and_(known, pyarrow.compute.fill_null(pyarrow.compute.is_finite(column), False))
    rows = pyarrow.compute.indices_nonzero(known)
    if len(rows) > wanted:
        chosen = sorted(random.Random(seed).sample(range(len(rows)), wanted))
        rows = rows.take(chosen)
    return table.take(rows)


def _truth(values: Sequence[object], target: str) -> list[Value]:
    if not values:
        raise Refused(f"No row of the table has a value in the target {target!r}.", "ValueError")
    plain = [_plain(value) for value in values]
    if any(value is None for value in plain) or len({type(value) for value in plain}) > 1:
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise Refused(
            f"The target {target!r} has values of the type {kinds}; numbers, yes and no, or texts are expected.",
            "TypeError",
        )
    if len(set(plain)) < 2:
        raise Refused(f"The target {target!r} has one value only in the sample, {values[0]!r}.", "ValueError")
    return [value for value in plain if value is not None]


def _predictions(study: _Study, queries: Any) -> list[Value]:
    """A value for each query; refused where an answer does not say one for the target."""
    seeding.begin(study.seed)
    if study.model.has_predict_many:
        form = study.model.many_form
        rows = queries.to_pylist() if form == "list" else frames.shape(queries, None, form)
        answers = study.model.predict_frame(rows, queries.num_rows, study.arguments)
    else:
        answers = [study.model.predict(row, study.arguments) for row in queries.to_pylist()]
    classes = {_text(value) for value in set(study.truth)}
    return [_value(answer, study.target, classes) for answer in answers]


def _value(answer: object, target: str, classes: set[str]) -> Value:
    """What an answer says about the target."""
    if isinstance(answer, Mapping):
        return _of_mapping(answer, target, classes)
    plain = _plain(answer)
    if plain is not None:
        return plain
    listed = answer.tolist() if hasattr(answer, "tolist") else answer
    if isinstance(listed, list | tuple) and len(listed) == 1:
        return _value(listed[0], target, classes)
    raise Refused(
        f"A prediction is {_shown(answer)}, from which no value for the target {target!r} can be told: a number, a "
        f"text, or a dict with the key {target!r} is expected.",
        "TypeError",
    )


def _of_mapping(answer: Mapping[Any, object], target: str, classes: set[str]) -> Value:
    for key in (target, *(pattern.format(target) for pattern in _KEYS)):
        if key in answer:
            return _value(answer[key], target, classes)
    chances = {_text(_plain(key)): _plain(value) for key, value in answer.items()}
    if chances and chances.keys() <= classes and all(isinstance(value, float) for value in chances.values()):
        return max(chances, key=lambda key: float(chances[key] or 0.0))
    if len(answer) == 1:
        return _value(next(iter(answer.values())), target, classes)
    raise Refused(
        f"A prediction has the keys {_shown(list(answer))}, none of which is the target's: name it {target!r} or "
        "'prediction'.",
        "KeyError",
    )


def _plain(value: Any) -> Value | None:
    """Numbers and flags as floats, texts as they are; None for all else."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, bool | int | float | decimal.Decimal):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    return value if isinstance(value, str) else None


def _text(value: Value | None) -> str:
    """As classes are compared: 1, 1.0 and "1" are one."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_accuracy(study: _Study, predictions: Sequence[Value]) -> bool:
    """Whether the predictions are classes that are hit or missed, and no numbers that are near or far."""
    classes = {_text(value) for value in study.truth}
    if any(isinstance(value, str) for value in (*study.truth, *predictions)):
        if not classes.intersection(map(_text, predictions)):
            raise Refused(
                f"No prediction ({_shown(predictions[0])}) is among the values of the target {study.target!r} "
                f"({_shown(study.truth[0])}).",
                "ValueError",
            )
        return True
    return len(classes) <= _CLASSES and all(_text(value) in classes for value in predictions)


def _score(study: _Study, predictions: Sequence[Value]) -> float:
    if study.is_accuracy:
        hits = sum(_text(truth) == _text(found) for truth, found in zip(study.truth, predictions, strict=True))
        return hits / len(study.truth)
    numbers = [float(value) for value in predictions]
    truth = [float(value) for value in study.truth]
    mean = math.fsum(truth) / len(truth)
    missed = math.fsum((one - other) ** 2 for one, other in zip(truth, numbers, strict=True))
    return 1.0 - missed / math.fsum((value - mean) ** 2 for value in truth)


def _shown(value: object) -> str:
    try:
        return repr(value)[:200]
    except Exception:  # noqa: BLE001 - the user's own object
        return f"an object of type {type(value).__name__}"

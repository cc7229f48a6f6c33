"""A trained model brought back to life: its files, its source, its pickled object, its `initialize`.

Used by `replica` and `predict_table`. It knows how each of the user's functions wants to be called.
"""

import difflib
import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from . import artifacts, frames, source
from .code import open_code
from .failures import Refused
from .imports import first_imports
from .inputs import load_tables
from .stored import unpack


class Model:
    """The object that `initialize` (or `train`) gave, and the user's predict functions around it."""

    def __init__(
        self,
        model: object,
        predict: Callable[..., object] | None,
        predict_many: Callable[..., object] | None,
        tables: Sequence[object] = (),
        imports: Sequence[str] = (),
    ) -> None:
        #: What its code and its pickled object imported before anything else was done.
        self.imports = list(imports)
        self._model, self._predict, self._predict_many = model, predict, predict_many
        #: What `predict` gets after model and query, in every call the same.
        self._tables = tuple(tables)
        self._keywords = source.Keywords(predict, 2 + len(self._tables)) if predict is not None else None
        self._many_keywords = source.Keywords(predict_many, 2) if predict_many is not None else None
        self.has_predict_many = predict_many is not None
        self._many_form = _many_form(predict_many) if predict_many is not None else "pandas"

    def predict(self, query: object, arguments: Mapping[str, object]) -> object:
        """One query's prediction. `arguments` reach the function as far as it accepts them."""
        if self._predict is None:
            return self.predict_many([query], arguments)[0]
        if arguments:
            assert self._keywords is not None
            return self._predict(self._model, query, *self._tables, **self._keywords.among(arguments))
        return self._predict(self._model, query, *self._tables)

    def predict_many(self, queries: Sequence[object], arguments: Mapping[str, object]) -> Sequence[Any]:
        """One prediction per query, in order: by `predict_many` if the user wrote one, else query by query."""
        if self._predict_many is None:
            return [self.predict(query, arguments) for query in queries]
        return self.predict_frame(_as(queries, self._many_form), len(queries), arguments)

    def predict_frame(self, rows: object, count: int, arguments: Mapping[str, object]) -> Sequence[Any]:
        """`predict_many` over rows that have its form already; refused unless it gives one result per row."""
        results = in_order(self.call_many(rows, arguments))
        self.check_count(len(results), count)
        return results

    def call_many(self, rows: object, arguments: Mapping[str, object]) -> object:
        """What `predict_many` gives for rows that have its form already, as it gives it."""
        function, keywords = self._predict_many, self._many_keywords
        assert function is not None
        assert keywords is not None
        return function(self._model, rows, **keywords.among(arguments))

    def misspelt(self, given: Collection[str]) -> str:
        """What is wrong with the names of keyword arguments, in a sentence, where one is nearly one that is taken.

        Others that no function takes are passed over, as the hosted service does: callers send what they always sent,
        whichever version answers.
        """
        functions = [each for each in (self._keywords, self._many_keywords) if each is not None]
        if any(each.takes_any for each in functions):
            return ""
        taken = [name for each in functions for name in each.names]
        for name in given:
            if name not in taken and (meant := _nearest(name, [each for each in taken if each not in given])):
                return f"The model takes no argument `{name[:100]}`. Did you mean `{meant}`?"
        return ""

    def takes_none_of(self, given: Collection[str]) -> bool:
        """Whether no function takes any of these keyword arguments."""
        functions = [each for each in (self._keywords, self._many_keywords) if each is not None]
        return not any(each.takes_any or not set(each.names).isdisjoint(given) for each in functions)

    def check_count(self, given: int, wanted: int) -> None:
        """Refuses so many results of `predict_many` where another number is wanted."""
        if given != wanted:
            raise Refused(
                f"{getattr(self._predict_many, '__name__', 'predict_many')} gave {given} results for {wanted} queries; "
                "it must give one per query, in order.",
                "ValueError",
            )

    @property
    def many_form(self) -> str:
        """What `predict_many` wants its queries as: pandas, pyarrow, polars, polars.lazy or list."""
        return self._many_form


def load(message: Mapping[str, Any], descriptors: Sequence[int]) -> Model:
    """The model of a message with what `code.open_code` wants, artifact, files, tables and the functions' names.

    Descriptors, all closed: those of the code, the artifact and the archive of files where the message says that they
    come, and one per table that `predict` takes. The user's code runs with the files of training in its folder.
    """
    code, rest = open_code(message, descriptors)
    artifact = rest.pop(0) if message.get("artifact", bool(rest)) else None
    files = rest.pop(0) if message.get("files", bool(rest)) else None
    if files is not None:
        unpack(files)
    predict, predict_many, initialize = (
        code.function(role, name) if (name := message.get(f"{role}_function")) else None
        for role in ("predict", "predict_many", "initialize")
    )
    if predict is None and predict_many is None:
        raise Refused("The model has neither a predict nor a predict_many function.", "NameError")
    model, unpickled = unpickle(artifact, message.get("artifact_digest")) if artifact is not None else (None, ())
    imports = first_imports(message, "predict", unpickled)
    tables = load_tables(predict, message.get("tables") or [], rest, 2) if predict is not None else []
    return Model(initialize(model) if initialize is not None else model, predict, predict_many, tables, imports)


def unpickle(descriptor: int, digest: str | None) -> tuple[object, Sequence[str]]:
    """The object in the file behind `descriptor`, after a look at its digest where one is given; its modules."""
    with os.fdopen(descriptor, "rb") as file:
        if digest is not None and hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise Refused("The stored model is damaged: its digest is not the one that was recorded.", "ValueError")
        return artifacts.load(file)


def _nearest(name: str, taken: Sequence[str]) -> str | None:
    """The one that is the same but for capitals and underscores, or for a letter or two."""
    short = name[:100].replace("_", "").lower()
    same = (each for each in taken if each.replace("_", "").lower() == short)
    return next(same, None) or next(iter(difflib.get_close_matches(name[:100], taken, 1, 0.8)), None)


def _many_form(function: Callable[..., object]) -> str:
    wanted = source.annotation(function, 1)
    if isinstance(wanted, str):
        name = wanted.partition("[")[0].rpartition(".")[2]
    else:
        origin = getattr(wanted, "__origin__", wanted)
        name = str(getattr(origin, "__name__", ""))
    return "list" if name in ("list", "List", "Sequence", "Iterable") else frames.form_for(function, 1)


def _as(queries: Sequence[object], form: str) -> object:
    if form == "list":
        return list(queries)
    if form == "pyarrow":
        import pyarrow

        return pyarrow.Table.from_pylist(list(queries))
    if form in ("polars", "polars.lazy"):
        import polars

        frame = polars.DataFrame(list(queries), infer_schema_length=None)
        return frame.lazy() if form == "polars.lazy" else frame
    import pandas

    return pandas.DataFrame(list(queries))


def in_order(found: Any) -> Sequence[Any]:
    """What `predict_many` gave as a sequence of results: a table's rows, an array's first axis, any iterable."""
    kind = type(found)
    package = kind.__module__.partition(".")[0]
    if package == "pandas" and kind.__name__ == "DataFrame":
        rows: list[Any] = found.to_dict("records")
        return rows
    if package in ("pandas", "numpy") and hasattr(found, "tolist"):
        if kind.__name__ == "ndarray" and found.ndim == 0:
            raise Refused("predict_many gave a single value; it must give one result per query.", "TypeError")
        if getattr(found.dtype, "kind", "O") in "Mm":
            return list(found)
        values: list[Any] = found.tolist()
        return values
    if package == "polars":
        frame = found.collect() if kind.__name__ == "LazyFrame" else found
        listed: list[Any] = frame.to_dicts() if hasattr(frame, "to_dicts") else frame.to_list()
        return listed
    if package == "pyarrow":
        return list(found.to_pylist())
    if isinstance(found, str | bytes | dict) or not hasattr(found, "__iter__"):
        raise Refused(
            f"predict_many gave {'nothing' if found is None else f'an object of type {kind.__name__}'}; "
            "it must give one result per query: a list, an array, a Series or a DataFrame.",
            "TypeError",
        )
    return found if isinstance(found, list | tuple) else list(found)

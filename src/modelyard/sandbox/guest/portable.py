"""A model outside of the platform: opened from the folder that an export unpacks to, by the code that guests use.

Exports carry this module and those that it imports; it runs on any Python with the model's packages. `_load_pyfunc` is
what MLflow calls.
"""

import json
import os
import shutil
import tempfile
import threading
from typing import Any

from . import answers, model


class Portable:
    """A loaded model. Calls wait for each other unless its functions are thread-safe."""

    def __init__(self, loaded: model.Model, *, is_thread_safe: bool) -> None:
        self._loaded = loaded
        self._lock = None if is_thread_safe else threading.Lock()

    def predict_one(self, query: object, **arguments: object) -> Any:
        """The prediction for one query, as JSON values."""
        return self._values(lambda: self._loaded.predict(query, arguments))

    def predict_many(self, queries: list[Any], **arguments: object) -> Any:
        """One prediction for each query, in order, as JSON values."""
        return self._values(lambda: self._loaded.predict_many(queries, arguments))

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """As MLflow calls it: a DataFrame, a dict of columns, one query, or a list of queries."""
        return self.predict_many(_queries(model_input), **(params or {}))

    def _values(self, call: Any) -> Any:
        if self._lock is None:
            return json.loads(answers.to_json(call()))
        with self._lock:
            return json.loads(answers.to_json(call()))


def open_model(folder: str) -> Portable:
    """The model in an export's folder. The process changes into a new working directory, with the training's files."""
    folder = os.path.abspath(folder)
    with open(os.path.join(folder, "modelyard.json"), encoding="utf-8") as file:
        about = json.load(file)
    work = tempfile.mkdtemp(prefix="modelyard-model-")
    files = os.path.join(folder, "files")
    if os.path.isdir(files):
        shutil.copytree(files, work, dirs_exist_ok=True)
    os.chdir(work)
    message: dict[str, Any] = dict(about["message"])
    if "tree" in message:
        message["tree"] = {**message["tree"], "folder": os.path.join(folder, "code")}
    else:
        message["source"] = _text(folder, "code", f"{message['module_name']}.py")
    message["modules"] = {name: _text(folder, "modules", f"{name}.py") for name in about["modules"]}
    places = [os.path.join("artifact", "model.pkl"), *(f"tables/{number}.arrow" for number in range(about["tables"]))]
    descriptors = [os.open(os.path.join(folder, place), os.O_RDONLY) for place in places]
    return Portable(model.load(message, descriptors), is_thread_safe=about["isThreadSafe"])


def _load_pyfunc(path: str) -> Portable:
    return open_model(path)


def _text(folder: str, *names: str) -> str:
    with open(os.path.join(folder, *names), encoding="utf-8") as file:
        return file.read()


def _queries(given: Any) -> list[Any]:
    if hasattr(given, "to_dict"):
        records: list[Any] = given.to_dict("records")
        return records
    if isinstance(given, dict):
        columns = list(given.values())
        lengths = {len(each) for each in columns if isinstance(each, list)}
        if len(lengths) == 1 and all(isinstance(each, list) for each in columns):
            return [dict(zip(given, row, strict=True)) for row in zip(*columns, strict=True)]
        return [given]
    return given.tolist() if hasattr(given, "tolist") else list(given)

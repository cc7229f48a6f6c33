"""A trained version as one zip that runs anywhere: `python serve.py`, or MLflow, which takes the folder for a model.

Called by the run of an export (`exporting.py`). Bytes go from the store into the zip and are not looked into; the same
version gives the same zip.
"""

import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from modelyard.database import JsonObject
from modelyard.ids import Digest
from modelyard.models.exports.texts import MLMODEL, PYTHON_ENV, README
from modelyard.models.versions import Deployable
from modelyard.sandbox.portable import runtime_files
from modelyard.storage import BlobStore

_CHUNK = 1024**2
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*==[^\s\\;]+(?:\s*;[^\\]+?)?)\s*\\?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a zip is made of."""

    served: Deployable
    name: str
    number: int
    python: str
    metrics: JsonObject
    metric_steps: list[dict[str, Any]]
    created_at: str


def pack(store: BlobStore, contents: Contents, tables: Sequence[int], target: IO[bytes]) -> None:
    """Writes the zip. `tables`: open Arrow files, where the version's `predict` takes tables."""
    served = contents.served
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in _texts(contents).items():
            _add(archive, name, iter((content,)))
        if served.code.tree is None:
            _add(archive, f"code/{served.module_name}.py", iter((served.code.source.encode(),)))
        else:
            _add_members(archive, "code/", store, served.code.tree)
        for name, source in served.modules.items():
            _add(archive, f"modules/{name}.py", iter((source.encode(),)))
        _add(archive, "artifact/model.pkl", _chunks(store, served.artifact))
        if served.files is not None:
            _add_members(archive, "files/", store, served.files)
        for number, descriptor in enumerate(tables):
            with open(descriptor, "rb", closefd=False) as table:
                _add(archive, f"tables/{number}.arrow", iter(lambda: table.read(_CHUNK), b""))


def _texts(contents: Contents) -> dict[str, bytes]:
    served = contents.served
    pins = [found.strip() for found in _PIN.findall(served.lock)]
    minor = ".".join(contents.python.split(".")[:2])
    told = {
        "name": contents.name.replace("\n", " "),
        "number": str(contents.number),
        "version": served.model_version,
        "python": contents.python,
        "minor": minor,
        "functions": ", ".join(filter(None, (served.functions.predict, served.functions.predict_many))),
        "created": contents.created_at,
    }
    return {
        "README.md": _filled(README, told),
        "MLmodel": _filled(MLMODEL, told),
        "python_env.yaml": _filled(PYTHON_ENV, told),
        "requirements.txt": "".join(f"{pin}\n" for pin in [*pins, "mlflow-skinny"]).encode(),
        "requirements.lock": served.lock.encode(),
        "metrics.json": _json({"metrics": contents.metrics, "steps": contents.metric_steps}),
        "modelyard.json": _json(_about(contents)),
        **runtime_files(),
    }


def _about(contents: Contents) -> dict[str, Any]:
    served = contents.served
    message = {name: value for name, value in served.code.message.items() if name != "source"}
    message |= {
        "predict_function": served.functions.predict,
        "predict_many_function": served.functions.predict_many,
        "initialize_function": served.functions.initialize,
        "artifact": True,
        "artifact_digest": served.artifact,
        "files": False,
        "tables": [{"name": each.table_name} for each in served.tables],
    }
    return {
        "model": contents.name,
        "modelVersion": served.model_version,
        "number": contents.number,
        "python": contents.python,
        "trainFunction": served.functions.train,
        "trainingConfig": served.training_config,
        "trainingInputTables": list(served.training_input_tables),
        "requirements": list(served.requirements),
        "isThreadSafe": served.is_thread_safe,
        "modules": sorted(served.modules),
        "tables": len(served.tables),
        "message": message,
    }


def _filled(text: str, told: dict[str, str]) -> bytes:
    for name, value in told.items():
        text = text.replace("{{" + name + "}}", value)
    return text.encode()


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n"


def _add_members(archive: zipfile.ZipFile, folder: str, store: BlobStore, digest: Digest) -> None:
    """The files of an archive of our own making, one by one."""
    with store.open(digest) as stream, tarfile.open(fileobj=stream, mode="r|") as members:
        for member in members:
            content = members.extractfile(member)
            if content is not None:
                _add(archive, folder + member.name, iter(lambda: content.read(_CHUNK), b""))  # noqa: B023


def _add(archive: zipfile.ZipFile, name: str, chunks: Iterator[bytes]) -> None:
    entry = zipfile.ZipInfo(name)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    with archive.open(entry, "w", force_zip64=True) as member:
        for chunk in chunks:
            member.write(chunk)


def _chunks(store: BlobStore, digest: Digest) -> Iterator[bytes]:
    with store.open(digest) as stream:
        yield from iter(lambda: stream.read(_CHUNK), b"")

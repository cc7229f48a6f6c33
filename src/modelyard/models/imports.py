"""Models that were trained elsewhere: their formats, and the revision that serves them.

An imported model is a Python model whose source is ours (`import_sources.py`): its `train` opens the file in a guest
and keeps it, `predict` asks it. So environments, logs, failures, versions, deployments, batches and exports are those
of all models. The host never opens the file.
"""

import dataclasses
import json
import re
from enum import StrEnum
from typing import Any

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from modelyard.actions import Call
from modelyard.database import Database, JsonObject
from modelyard.errors import InvalidEnumParameterError, InvalidParameterError, PermissionDeniedError
from modelyard.ids import ProjectId
from modelyard.models import definition as definitions
from modelyard.models import import_sources, revisions
from modelyard.models.definition import Changes
from modelyard.models.records import Model
from modelyard.projects.access import get_project, note_occupant
from modelyard.source_code.check import Checker
from modelyard.source_code.pins import known_modules
from modelyard.source_code.requirements import parse_requirements


class Format(StrEnum):
    """What the model's file is. Read without regard to case."""

    #: Opened by onnxruntime.
    ONNX = "ONNX"
    #: A Booster as JSON or UBJ.
    XGBOOST = "XGBOOST"
    #: A Booster as text.
    LIGHTGBM = "LIGHTGBM"
    #: A model as cbm.
    CATBOOST = "CATBOOST"
    #: Tensors by name; a predict source says what to do with them.
    SAFETENSORS = "SAFETENSORS"
    #: Any Python object, with a predict source; only if the operator allows it (`pickled_models`).
    PICKLE = "PICKLE"

    @classmethod
    def _missing_(cls, value: object) -> "Format | None":
        return next((each for each in cls if isinstance(value, str) and each.value == value.upper()), None)


_PACKAGES = {
    Format.ONNX: ["onnxruntime"], Format.XGBOOST: ["xgboost"], Format.LIGHTGBM: ["lightgbm"],
    Format.CATBOOST: ["catboost"], Format.SAFETENSORS: ["safetensors"], Format.PICKLE: [],
}  # fmt: skip
_FILES = {
    Format.ONNX: "model.onnx", Format.XGBOOST: "model.xgb", Format.LIGHTGBM: "model.txt", Format.CATBOOST: "model.cbm",
    Format.SAFETENSORS: "model.safetensors", Format.PICKLE: "model.pkl",
}  # fmt: skip
_ENDINGS = {
    ".onnx": Format.ONNX, ".json": Format.XGBOOST, ".ubj": Format.XGBOOST, ".xgb": Format.XGBOOST,
    ".txt": Format.LIGHTGBM, ".cbm": Format.CATBOOST, ".safetensors": Format.SAFETENSORS, ".pkl": Format.PICKLE,
    ".pickle": Format.PICKLE,
}  # fmt: skip
#: Artifacts beside the model: name in the API -> name of the file that the guest finds.
ARTIFACTS = {"verifications": "verifications.json", "resources": "resources"}


class Config(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """The keys of modelConfig."""

    format: str | None = None
    #: In the order of the model's input, where its file names none or others.
    features: list[str] | None = None
    requirements: list[str] = []
    #: Python with `predict(model, query)`, perhaps `predict_many` and `initialize`.
    predict_source: str | None = None
    #: CatBoost's: RawFormulaVal, Class, Probability ...
    prediction_type: str | None = None


class Imported(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How an imported model is read, and where its files come from."""

    format: Format
    #: Name of the model's file in the guest.
    file: str
    #: A file, or a folder with a slash at its end; None: uploads.
    location: str | None = None
    #: Artifact -> its file's name in the folder.
    artifact_names: dict[str, str] = {}


def read_config(config: JsonObject | None, file_name: str = "") -> tuple[Config, Format]:
    """The config and the format that it, or the file's ending, says."""
    try:
        read = msgspec.convert(config or {}, Config)
    except msgspec.ValidationError as error:
        known = ", ".join(Config.__struct_encode_fields__)
        raise InvalidParameterError(f"Invalid value for modelConfig: {error}. Its keys are {known}.") from None
    if read.format is not None:
        try:
            return read, Format(read.format)
        except ValueError:
            pass
    ending = re.search(r"\.[a-z]+$", file_name.lower())
    found = _ENDINGS.get(ending[0]) if ending and read.format is None else None
    if found is None:
        given = repr((read.format or "")[:100])
        raise InvalidEnumParameterError(
            f"Invalid value for modelConfig.format: {given}; it must be one of {', '.join(Format)}"
        )
    return read, found


def changes_of(call: Call, config: Config, form: Format, file: str) -> Changes:
    """What the revision of such a model says; InvalidParameterError where a predict source is missing or too much."""
    if form is Format.PICKLE and not call.settings.pickled_models:
        raise PermissionDeniedError(
            "Pickles run code when they are opened; this server's operator has not allowed to import them "
            "(pickled_models). Export the model as ONNX, or hand over the source that trains it."
        )
    needs_source = form in (Format.SAFETENSORS, Format.PICKLE)
    if needs_source != (config.predict_source is not None):
        raise InvalidParameterError(
            f"A {form} model {'needs' if needs_source else 'takes no'} modelConfig.predictSource"
            + (": Python with predict(model, query)." if needs_source else "; its file says how it predicts.")
        )
    given = parse_requirements(config.requirements)
    names = {canonicalize_name(Requirement(each).name) for each in given}
    # A relative of the package, as xgboost-cpu or onnxruntime-gpu, provides the same module.
    packages = [*given, *(each for each in _PACKAGES[form] if not any(name.startswith(each) for name in names))]
    if config.predict_source is not None:
        return _with_source(config.predict_source, form, file, packages)
    told = {"format": form, "features": config.features, "predictionType": config.prediction_type}
    head = import_sources.HEAD.format(format=form, config=json.dumps(told), file=file)
    return Changes(
        source=head + getattr(import_sources, form) + import_sources.TABULAR,
        train_function_name="train",
        predict_function_name="predict",
        predict_many_function_name="predict_many",
        initialize_function_name="initialize",
        training_input_tables=[],
        feature_group_ids=[],
        package_requirements=packages,
    )


def _with_source(source: str, form: Format, file: str, packages: list[str]) -> Changes:
    opening = import_sources.OPENING[form].format(file=file)
    tail = import_sources.WITH_SOURCE.format(format=str(form), opening=opening, initialize="initialize")
    return Changes(
        source=source.rstrip("\n") + "\n" + tail,
        train_function_name="modelyard_import",
        predict_function_name="predict",
        predict_many_function_name="predict_many" if re.search(r"^def predict_many\b", source, re.MULTILINE) else None,
        initialize_function_name="modelyard_open",
        training_input_tables=[],
        feature_group_ids=[],
        package_requirements=packages,
    )


def file_of(form: Format) -> str:
    """The name under which the guest finds the model's file."""
    return _FILES[form]


def create(call: Call, project_id: ProjectId, name: str | None, changes: Changes, imported: Imported) -> Model:
    """A new imported model with its revision, in a transaction of its own; the check of the source comes before it."""
    database = call.parts.get(Database)
    first = definitions.first_definition(changes)
    with database.read() as session:
        project = get_project(session, call.organization_id, project_id)
        modules = known_modules(session, call.organization_id, changes.source or "")
    checked = definitions.check(call.parts.get(Checker), first, changes.source or "", modules)
    with database.write() as session:
        model = revisions.new_model(call, project_id, f"{project.name} Model" if name is None else name)
        model.is_python_model, model.imported = False, dict(msgspec.to_builtins(imported))
        session.add(model)
        session.flush()
        note_occupant(session, project_id, "model", model.model_id, model.name)
        revisions.keep_first(session, call, model, dataclasses.replace(checked), changes.source)
    return model


def imported_of(model: Model) -> Imported:
    """How the model was imported; InvalidParameterError if it wasn't."""
    if model.imported is None:
        raise InvalidParameterError(
            f"Model {model.model_id} was not imported from files; retrainModel makes versions of Python models."
        )
    return msgspec.convert(model.imported, Imported)


def check_artifacts(names: list[Any]) -> list[str]:
    """The names of artifacts beside the model, if they are ones that can be used."""
    unknown = [each for each in names if each not in ARTIFACTS and each != "model"]
    if unknown:
        raise InvalidParameterError(
            f"There is no artifact {str(unknown[0])[:100]!r}; beside the model there are {', '.join(ARTIFACTS)}."
        )
    return [each for each in dict.fromkeys(names) if each != "model"]

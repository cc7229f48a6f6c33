"""What a revision says, as a value: merged from the newest one and a caller's changes, then checked, then kept.

`revisions.py` does the keeping. Nothing here touches the database or runs anything of the user's: the check of the
source parses only (`source_code.check`). A change of None leaves what is; `""` clears an optional function, `[]` a
list.
Source: updatePythonModel, Arguments and Exceptions.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from modelyard.database import JsonObject
from modelyard.errors import InvalidParameterError
from modelyard.ids import ApplicationConnectorId, Digest
from modelyard.models.code.trees import Tree, check_tree
from modelyard.models.records import ModelRevision, SourceType
from modelyard.models.sizes import CpuSize
from modelyard.source_code.check import Checker, CheckReport, CheckRequest
from modelyard.source_code.pins import KnownModules

#: Class attributes of the SDK's TrainingConfig that a raw caller may echo; they say how it is spelled, not what it is.
SPELLING = ("_SUPPORT_KWARGS", "_UPPER_SNAKE_CASE_KEYS")
#: Key of the training config that limits the time of `train`.
TIMEOUT = "TIMEOUT_MINUTES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """All that a revision holds, but for who and when. Fields are the columns of `ModelRevision`."""

    source_digest: Digest
    source_size: int
    source_type: SourceType = SourceType.TEXT
    tree_digest: Digest | None = None
    train_module_name: str | None = None
    predict_module_name: str | None = None
    application_connector_id: ApplicationConnectorId | None = None
    application_connector_info: JsonObject | None = None
    train_function_name: str
    predict_function_name: str | None = None
    predict_many_function_name: str | None = None
    initialize_function_name: str | None = None
    training_input_tables: list[str]
    feature_group_ids: list[str]
    cpu_size: str | None = None
    memory_gib: int | None = None
    use_gpu: bool = False
    is_thread_safe: bool | None = None
    package_requirements: list[str] = dataclasses.field(default_factory=list)
    training_config: JsonObject | None = None
    inferred_requirements: list[str] = dataclasses.field(default_factory=list)
    module_dependencies: list[str] = dataclasses.field(default_factory=list)
    publishing_msg: JsonObject = dataclasses.field(default_factory=dict)

    @property
    def checked_part(self) -> tuple[object, ...]:
        """What the check of the source depends on: where it is equal, its report is still true."""
        names = (self.train_function_name, self.predict_function_name)
        more = (self.predict_many_function_name, self.initialize_function_name)
        modules = (self.train_module_name, self.predict_module_name)
        return (
            self.source_digest,
            *modules,
            *names,
            *more,
            len(self.training_input_tables),
            tuple(self.package_requirements),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a caller wants to be different; None means as it is."""

    source: str | None = None
    tree: Tree | None = None
    train_module_name: str | None = None
    predict_module_name: str | None = None
    application_connector_id: ApplicationConnectorId | None = None
    application_connector_info: JsonObject | None = None
    train_function_name: str | None = None
    predict_function_name: str | None = None
    predict_many_function_name: str | None = None
    initialize_function_name: str | None = None
    training_input_tables: list[str] | None = None
    #: Ids of the tables, once they are found.
    feature_group_ids: list[str] | None = None
    cpu_size: CpuSize | None = None
    memory_gib: int | None = None
    use_gpu: bool | None = None
    is_thread_safe: bool | None = None
    package_requirements: list[str] | None = None
    training_config: JsonObject | None = None


_FIELDS = tuple(field.name for field in dataclasses.fields(Definition))
_OPTIONAL = ("predict_function_name", "predict_many_function_name", "initialize_function_name")
#: What a source of one file is not.
_ONE_SOURCE: dict[str, Any] = {
    "source_type": SourceType.TEXT, "tree_digest": None, "train_module_name": None, "predict_module_name": None,
    "application_connector_id": None, "application_connector_info": None,
}  # fmt: skip
_PLAIN = (
    "train_module_name", "predict_module_name",
    "train_function_name", "training_input_tables", "feature_group_ids", "memory_gib", "use_gpu", "is_thread_safe",
    "package_requirements", "training_config",
)  # fmt: skip


def definition_of(revision: ModelRevision) -> Definition:
    """What the revision says."""
    return Definition(**{name: getattr(revision, name) for name in _FIELDS})


def first_definition(changes: Changes) -> Definition:
    """The definition of a model that is being created."""
    empty = Definition(
        source_digest=Digest(""), source_size=0, train_function_name="", training_input_tables=[], feature_group_ids=[]
    )
    return merge(empty, changes)


def merge(definition: Definition, changes: Changes) -> Definition:
    """The definition with the changes in it; not yet checked."""
    values: dict[str, Any] = {name: getattr(changes, name) for name in _PLAIN}
    values = {name: value for name, value in values.items() if value is not None}
    if changes.cpu_size is not None:
        values["cpu_size"] = changes.cpu_size.value
    for name in _OPTIONAL:
        if getattr(changes, name) is not None:
            values[name] = getattr(changes, name) or None
    if changes.source is not None:
        content = changes.source.encode(errors="surrogatepass")
        values |= {"source_digest": digest_of(content), "source_size": len(content), **_ONE_SOURCE}
    if changes.tree is not None:
        values |= _of_tree(changes.tree, changes)
    merged = dataclasses.replace(definition, **values)
    if not merged.train_function_name:
        raise InvalidParameterError("trainFunctionName is empty: a Python model needs a function that trains it.")
    return merged


def _of_tree(tree: Tree, changes: Changes) -> dict[str, Any]:
    content = tree.manifest.encode()
    is_git = changes.application_connector_id is not None
    return {
        "source_digest": digest_of(content),
        "source_size": len(content),
        "source_type": SourceType.APPLICATION_CONNECTOR if is_git else SourceType.FILE_UPLOAD,
        "tree_digest": tree.digest,
        "application_connector_id": changes.application_connector_id,
        "application_connector_info": changes.application_connector_info,
    }


def check(checker: Checker, definition: Definition, source: str | Tree, modules: KnownModules) -> Definition:
    """The definition with what the check of its source adds; ConflictError if the source can't run as it says."""
    if isinstance(source, Tree):
        return _with_report(definition, check_tree(checker, definition, source, modules))
    report = checker.check(
        CheckRequest(
            source=source,
            functions={
                "train": definition.train_function_name,
                "predict": definition.predict_function_name,
                "predict_many": definition.predict_many_function_name,
                "initialize": definition.initialize_function_name,
            },
            table_count=len(definition.training_input_tables),
            requirements=definition.package_requirements,
            modules=modules.names,
            contents=modules.contents,
        )
    )
    return _with_report(definition, report)


def _with_report(definition: Definition, report: CheckReport) -> Definition:
    return dataclasses.replace(
        definition,
        inferred_requirements=list(report.inferred_requirements),
        module_dependencies=list(report.module_dependencies),
        publishing_msg=dict(report.publishing_msg),
    )


def with_report_of(definition: Definition, checked: Definition) -> Definition:
    """The definition with the report of another one, whose checked part is the same."""
    return dataclasses.replace(
        definition,
        inferred_requirements=checked.inferred_requirements,
        module_dependencies=checked.module_dependencies,
        publishing_msg=checked.publishing_msg,
    )


def fingerprint(
    definition: Definition | ModelRevision, feature_group_ids: Sequence[str], training_config: Mapping[str, Any] | None
) -> Digest:
    """Equal for what would train the same model from the same tables and serve it the same way.

    Sizes are left out: they decide how long a training takes, not what comes out.
    """
    material = [
        definition.source_digest,
        *filter(None, (definition.train_module_name, definition.predict_module_name)),
        definition.train_function_name,
        definition.predict_function_name,
        definition.predict_many_function_name,
        definition.initialize_function_name,
        list(feature_group_ids),
        sorted([*definition.package_requirements, *definition.inferred_requirements]),
        bool(definition.is_thread_safe),
        training_config or {},
    ]
    return digest_of(msgspec.json.encode(material, order="sorted"))


def digest_of(content: bytes) -> Digest:
    """sha256 of the bytes."""
    return Digest(hashlib.sha256(content).hexdigest())


def check_training_config(config: JsonObject | None) -> JsonObject | None:
    """The config as it will be kept: as it was given, if its time limit can be used."""
    if config is None:
        return None
    minutes = config.get(TIMEOUT)
    if minutes is not None and not (
        isinstance(minutes, int | float) and not isinstance(minutes, bool) and 0 < minutes < math.inf
    ):
        raise InvalidParameterError(f"trainingConfig has {TIMEOUT} {minutes!r}; it must be a number of minutes over 0.")
    return {name: value for name, value in config.items() if name not in SPELLING}


def check_flag(name: str, value: bool | int | None) -> bool | None:
    """A yes or no that may come as 1 or 0. Source: updatePythonModel, isThreadSafe int; the SDK sends a bool."""
    if value is None or value in (0, 1):
        return None if value is None else bool(value)
    raise InvalidParameterError(f"{name} is {value}; it must be true or false (or 1 or 0).")

"""Dry runs put on the table and looked at: what would happen if a model were told to be this.

`validate` checks the source as an update does; what passes goes to an agent (`trials.try_out`). A source that is
refused by the check is a dry run that failed in its first stage. Nothing of a model is changed.
"""

import dataclasses
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

import modelyard
from modelyard.actions import Call
from modelyard.clock import iso
from modelyard.database import Database, JsonObject
from modelyard.environments.lock import runtime
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError
from modelyard.execution import After, enqueue
from modelyard.execution.waiting import what_it_waits_for
from modelyard.feature_groups.records import VersionStatus
from modelyard.feature_groups.tables import newest_versions
from modelyard.ids import Digest, FeatureGroupId, ModelId, ModelValidationId, OrganizationId, ProjectId, new_id
from modelyard.models import definition as definitions
from modelyard.models.code.trees import Tree
from modelyard.models.definition import Changes, Definition
from modelyard.models.dry_runs.wire import ModelValidationShape, StageShape
from modelyard.models.heads import find_head, put_text
from modelyard.models.records import ModelValidation, ValidationStatus
from modelyard.models.removal import remove_texts
from modelyard.models.reproduction.seeds import seed_of
from modelyard.models.revisions import find_tables, kept_source, modules_known_to
from modelyard.models.sizes import CpuSize, Size, demand
from modelyard.source_code.check import Checker
from modelyard.source_code.pins import Modules

#: Name of the run, bound in `runs.KINDS`.
VALIDATE = "models.validate"
#: The stages, in order.
STAGES = ("check", "environment", "tables", "import", "train", "initialize", "predict", "predictMany")
ENDED = (ValidationStatus.COMPLETE, ValidationStatus.FAILED)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is to be tried."""

    changes: Changes
    model_id: ModelId | None = None
    project_id: ProjectId | None = None
    query: JsonObject | None = None
    sample_rows: int


def validate(call: Call, trial: Trial) -> ModelValidation:
    """A new dry run; on the table, or FAILED already where the check refuses the source."""
    with call.parts.get(Database).read() as session:
        merged, source = _merged(session, call, trial)
        modules = modules_known_to(session, call, source)
    stages = [StageShape(name=name, status="PENDING") for name in STAGES]
    try:
        merged = definitions.check(call.parts.get(Checker), merged, source, modules)
    except ConflictError as refused:
        stages = [
            StageShape(name=name, status="SKIPPED")
            if at
            else StageShape(name=name, status="FAILED", message=str(refused))
            for at, name in enumerate(STAGES)
        ]
    else:
        stages[0] = StageShape(name="check", status="COMPLETE", message=_warnings(merged))
    with call.parts.get(Database).write() as session:
        return _keep(session, call, trial, merged, stages)


def get_validation(session: Session, organization_id: OrganizationId, validation_id: str) -> ModelValidation:
    """The dry run; DataNotFoundError if the organisation has none of that id."""
    found = session.get(ModelValidation, ModelValidationId(validation_id))
    if found is None or found.organization_id != organization_id:
        raise DataNotFoundError(f"Model validation {validation_id} was not found; reports are kept for some weeks only")
    return found


def describe_validation(session: Session, call: Call, validation: ModelValidation) -> ModelValidationShape:
    """The dry run as callers see it."""
    is_pending = validation.status == ValidationStatus.PENDING and validation.run_id is not None
    return ModelValidationShape(
        model_validation=validation.model_validation,
        model_id=validation.model_id,
        status=validation.status,
        stages=msgspec.convert(validation.stages, list[StageShape]),
        error=reason_of(validation),
        waiting_for=what_it_waits_for(session, validation.run_id, call.clock())
        if is_pending and validation.run_id
        else None,
        created_at=iso(validation.created_at),
        completed_at=iso(validation.completed_at),
    )


def reason_of(validation: ModelValidation) -> str | None:
    """Why it failed, with the user's own traceback; None if it did not."""
    for stage in validation.stages:
        if stage["status"] == "FAILED":
            exception = stage.get("exception") or {}
            told = [f"{stage['name']}: {stage['message']}", exception.get("traceback") or ""]
            return "\n".join(each for each in told if each)
    return None


def ensure_valid(call: Call, model_id: ModelId, changes: Changes) -> After | None:
    """None where a dry run of the changed model was passed; what to wait for before asking again; else ConflictError.

    A dry run of the very same that has been made already is taken as it is: of the same definition, modules, Python and
    platform, and on the tables' newest rows.
    """
    trial = Trial(changes=changes, model_id=model_id, sample_rows=call.settings.validation_rows)
    with call.parts.get(Database).read() as session:
        merged, source = _merged(session, call, trial)
        modules = modules_known_to(session, call, source)
    merged = definitions.check(call.parts.get(Checker), merged, source, modules)
    with call.parts.get(Database).read() as session:
        found = _find_passed(session, call, _digest(session, call, trial, merged))
    if found is None:
        found = validate(call, trial)
    if found.status == ValidationStatus.FAILED:
        raise ConflictError(f"The dry run {found.model_validation} of the change failed. {reason_of(found)}")
    if found.status == ValidationStatus.COMPLETE or found.run_id is None:
        return None
    return After((found.run_id,))


def _find_passed(session: Session, call: Call, digest: Digest) -> ModelValidation | None:
    """The newest dry run of the very same, if it still says something."""
    query = select(ModelValidation).where(ModelValidation.digest == digest)
    found = session.scalars(query.order_by(ModelValidation.created_at.desc()).limit(1)).first()
    if found is None or found.status not in ENDED:
        return found
    if found.table_versions is None:  # it failed before it had any
        return None if _is_old(call, found) else found
    groups = [FeatureGroupId(each) for each in found.definition["feature_group_ids"]]
    newest = newest_versions(session, groups, VersionStatus.COMPLETE)
    now = [newest[group].feature_group_version if group in newest else None for group in groups]
    if found.table_versions != now or (found.status == ValidationStatus.FAILED and _is_old(call, found)):
        return None
    return found


def _is_old(call: Call, validation: ModelValidation) -> bool:
    """Whether a failure is to be tried again: indexes change, and a caller who asks anew wants to know."""
    ended = validation.completed_at or validation.created_at
    return call.clock() - ended > timedelta(seconds=10)


def _merged(session: Session, call: Call, trial: Trial) -> tuple[Definition, str | Tree]:
    changes = find_tables(session, call.organization_id, trial.changes)
    if trial.model_id is None:
        if changes.source is None or not changes.train_function_name:
            raise InvalidParameterError("Pass functionSourceCode and trainFunctionName, or the modelId of a model.")
        return definitions.first_definition(changes), changes.source
    _, head = find_head(session, call.organization_id, trial.model_id)
    merged = definitions.merge(definitions.definition_of(head), changes)
    return merged, kept_source(session, call, head) if changes.source is None else changes.source


def _keep(session: Session, call: Call, trial: Trial, merged: Definition, stages: list[StageShape]) -> ModelValidation:
    _forget_old(session, call)
    has_failed = stages[0].status == "FAILED"
    if trial.changes.source is not None:
        put_text(session, trial.changes.source)
    validation = ModelValidation(
        model_validation=ModelValidationId(new_id()),
        organization_id=call.organization_id,
        project_id=trial.project_id,
        model_id=trial.model_id,
        status=ValidationStatus.FAILED if has_failed else ValidationStatus.PENDING,
        stages=msgspec.to_builtins(stages),
        definition=dataclasses.asdict(merged),
        digest=_digest(session, call, trial, merged),
        source_digest=merged.source_digest,
        module_pins=Modules(session, call.organization_id).pins(merged.module_dependencies).as_json,
        query=trial.query,
        sample_rows=trial.sample_rows,
        seed=seed_of(merged.training_config).value,
        created_by=call.principal.user_id,
        created_at=call.clock(),
        completed_at=call.clock() if has_failed else None,
    )
    if not has_failed:
        size = Size(CpuSize(merged.cpu_size) if merged.cpu_size else None, merged.memory_gib, merged.use_gpu)
        validation.run_id = enqueue(
            session,
            VALIDATE,
            {"modelValidation": validation.model_validation},
            target=validation.model_validation,
            organization_id=call.organization_id,
            project_id=trial.project_id,
            demand=demand(session, call.settings, size),
        )
    session.add(validation)
    session.flush()
    return validation


def _forget_old(session: Session, call: Call) -> None:
    """Removes the organisation's reports that are past their time, and sources that stood in them alone."""
    before = call.clock() - timedelta(days=call.settings.validation_days)
    old = (ModelValidation.organization_id == call.organization_id, ModelValidation.created_at < before)
    texts = set(session.scalars(select(ModelValidation.source_digest).where(*old)))
    if texts:
        session.execute(delete(ModelValidation).where(*old))
        remove_texts(session, texts)


def _digest(session: Session, call: Call, trial: Trial, merged: Definition) -> Digest:
    """Equal for what a dry run would do the same with; the rows of the tables are asked for beside it."""
    pins = Modules(session, call.organization_id).pins(merged.module_dependencies)
    material: list[Any] = [
        trial.model_id, merged.source_digest, merged.checked_part, merged.inferred_requirements,
        merged.feature_group_ids, merged.training_input_tables, merged.cpu_size, merged.memory_gib, merged.use_gpu,
        merged.training_config, pins.as_json, trial.query, trial.sample_rows, runtime(), modelyard.__version__,
    ]  # fmt: skip
    return definitions.digest_of(msgspec.json.encode(material, order="sorted"))


def _warnings(merged: Definition) -> str | None:
    warnings = merged.publishing_msg.get("warnings") or []
    return "\n".join(f"line {each['line']}: {each['message']}" for each in warnings) or None

"""Code that has to be fetched, unpacked and checked before it is a revision: zips that were uploaded, commits of git.

`begin` puts an arrival on the table in the caller's transaction; an agent's run `receive` takes it from there. The
bytes are unpacked in a guest, never here; what comes back is packed anew, checked file by file, and becomes the model's
next revision in one transaction. Until then, and where it fails, the model stays what it was; `codeSource` tells.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.connectors.repositories import find_repository
from modelyard.database import JsonObject
from modelyard.datasets.records import Upload, UploadPart
from modelyard.errors import ApiError, ConflictError, InvalidParameterError, NotReadyError
from modelyard.execution import Demand, Permanent, Retry, RunContext, RunKind, enqueue
from modelyard.feature_groups import lineage
from modelyard.ids import ApplicationConnectorId, CodeArrivalId, Digest, FeatureGroupId, ModelId, RevisionId, new_id
from modelyard.models import definition as definitions
from modelyard.models.code.trees import Tree, read_tree
from modelyard.models.definition import Changes, Definition
from modelyard.models.heads import put_text
from modelyard.models.records import (
    ArrivalStatus,
    CodeArrival,
    Model,
    ModelRevision,
    SourceType,
)
from modelyard.models.retrain import start_training
from modelyard.models.sizes import CpuSize
from modelyard.sandbox import Guest, GuestError, GuestNotStarted, Limits, Sandbox, SandboxUnavailable
from modelyard.sandbox.host import own_interpreter
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.source_code.check import Checker
from modelyard.source_code.pins import known_modules
from modelyard.source_code.users import note_users
from modelyard.storage import BlobStore

RECEIVE = "models.receive"
#: Kind of the uploads that bring zips, in `UploadEvents`.
UPLOAD = "MODEL_CODE"
_UNPACK_TIMEOUT_S = 300.0


class CodeRefused(Exception):
    """The code can't be a revision; the message is for whoever sent it."""


def expect(call: Call, model: Model, source_type: SourceType, changes: Changes, **where: Any) -> CodeArrival:
    """An arrival that is not on the table yet; `where` says where its bytes come from, `trains` what follows."""
    arrival = CodeArrival(
        arrival_id=CodeArrivalId(new_id()),
        model_id=model.model_id,
        organization_id=model.organization_id,
        source_type=source_type,
        changes=_as_json(changes),
        status=ArrivalStatus.UPLOADING,
        created_by=call.principal.user_id,
        created_at=call.clock(),
        **{"trains": False, **where},
    )
    call.session.add(arrival)
    return arrival


def begin(call: Call, arrival: CodeArrival) -> None:
    """Puts the arrival on the table; the model shows its status from now on."""
    arrival.status, arrival.begun_at = ArrivalStatus.PENDING, call.clock()
    arrival.run_id = enqueue(
        call.session,
        RECEIVE,
        {"arrivalId": arrival.arrival_id},
        target=arrival.arrival_id,
        organization_id=arrival.organization_id,
        demand=Demand(cores=1, memory_gib=2.0),
    )
    model = call.session.get_one(Model, arrival.model_id, with_for_update=True, populate_existing=True)
    model.code_arrival = arrival.arrival_id
    call.session.flush()


def end_of_upload(call: Call, upload: Upload) -> None:
    """All parts of a zip have come."""
    size = sum(part.size for part in _parts(call.session, upload))
    if size > call.settings.code_archive_limit:
        raise InvalidParameterError(
            f"The zip has {size:,} bytes, more than the limit of {call.settings.code_archive_limit:,} "
            "(code_archive_limit). Load large data from a table instead of shipping it with the code."
        )
    begin(call, _of_upload(call.session, upload))


def check_arrived(session: Session, model: Model) -> None:
    """NotReadyError while code of the model is on its way, which a training would not have yet."""
    arrival = session.get(CodeArrival, model.code_arrival) if model.code_arrival else None
    if arrival is not None and arrival.status == ArrivalStatus.PENDING:
        raise NotReadyError(f"Code of model {model.model_id} is on its way; wait until codeSource.status is COMPLETE.")


def cancelled_upload(call: Call, upload: Upload) -> None:
    """The zip will not come."""
    arrival = _of_upload(call.session, upload)
    arrival.status, arrival.error = ArrivalStatus.FAILED, "The upload was cancelled."


def receive(run: RunContext) -> None:
    """Makes an arrival the model's next revision, or says why it can't be."""
    with run.read() as session:
        arrival = session.get(CodeArrival, CodeArrivalId(run.payload["arrivalId"]))
    if arrival is None:
        raise Permanent("the model was deleted")
    try:
        with _archive(run, arrival) as (archive, kind, info):
            tree = _unpacked(run, archive, kind)
        _keep(run, arrival, tree, info)
    except (CodeRefused, ApiError) as error:
        message = error.message if isinstance(error, ApiError) else str(error)
        with run.transaction() as session:
            _end(session, arrival.arrival_id, ArrivalStatus.FAILED, message)
            run.complete(session)


def give_up(session: Session, payload: JsonObject, reason: str) -> None:
    """The run was given up or cancelled."""
    _end(session, CodeArrivalId(payload["arrivalId"]), ArrivalStatus.FAILED, f"The code was given up: {reason}")


@contextmanager
def _archive(run: RunContext, arrival: CodeArrival) -> Iterator[tuple[IO[bytes], str, JsonObject | None]]:
    """The archive as one file, its kind, and where it came from."""
    if arrival.application_connector_id is not None:
        with run.read() as session:
            repository = find_repository(
                session, run.settings, arrival.organization_id, arrival.application_connector_id
            )
        limit = run.settings.code_archive_limit
        with repository.fetched(arrival.branch_name, arrival.python_root, limit) as fetched:
            info: JsonObject = {"url": repository.auth["url"], "branchName": fetched.branch, "commit": fetched.commit}
            if arrival.python_root is not None:
                info["pythonRoot"] = arrival.python_root
            with fetched.archive.open("rb") as stream:
                yield stream, "tar", info
        return
    with run.read() as session:
        upload = session.get_one(Upload, arrival.upload_id)
        digests = [part.digest for part in _parts(session, upload)]
    store = run.parts.get(BlobStore)
    blob = store.put_chunks(chunk for digest in digests for chunk in _chunks(store, digest)).digest
    with store.open(blob) as stream:
        yield stream, "zip", None


def _chunks(store: BlobStore, digest: Digest) -> Iterator[bytes]:
    with store.open(digest) as part:
        yield from iter(lambda: part.read(1024**2), b"")


def _unpacked(run: RunContext, archive: IO[bytes], kind: str) -> Tree:
    """The tree in an archive, unpacked by a guest and packed by us."""
    settings = run.settings
    limits = Limits(
        cores=1, memory_gib=1.0, timeout_s=_UNPACK_TIMEOUT_S, processes=16,
        scratch_gib=settings.code_unpacked_limit / 1024**3 + 1,
    )  # fmt: skip
    message = {"kind": kind, "files_limit": settings.code_files, "size_limit": settings.code_unpacked_limit}
    try:
        outcome = run.parts.get(Sandbox).run(
            own_interpreter(), limits, "unpack_code", message, fds=[archive.fileno()], preload=(),
            on_output=run.log, cancelled=run.cancelled, collect=lambda guest, _: _packed(run, guest), name="code",
        )  # fmt: skip
    except SandboxUnavailable as error:
        raise Permanent(str(error)) from error
    except GuestNotStarted as error:
        raise Retry(f"a guest could not be started: {error}") from error
    except ScratchRefused as error:
        raise CodeRefused(f"The archive can't be used as code: {error}") from error
    if outcome.error is not None or outcome.collected is None:
        run.check_cancelled()
        if outcome.error is not None and outcome.error.was_killed:
            raise Retry(_sentence(outcome.error))
        raise CodeRefused(_sentence(outcome.error))
    return outcome.collected


def _sentence(error: GuestError | None) -> str:
    if error is None:
        return "The archive can't be unpacked."
    return error.value if error.type == "ValueError" else f"The archive can't be unpacked: {error.sentence}"


def _packed(run: RunContext, guest: Guest) -> Tree:
    store, settings = run.parts.get(BlobStore), run.settings
    with store.writer() as writer:
        guest.pack(cast(IO[bytes], writer), count=settings.code_files, total=settings.code_unpacked_limit)
        digest = writer.finish().digest
    with store.open(digest) as stream:
        return read_tree(digest, stream)


def _keep(run: RunContext, arrival: CodeArrival, tree: Tree, info: JsonObject | None) -> None:
    changes = dataclasses.replace(
        _from_json(arrival.changes),
        tree=tree,
        application_connector_id=arrival.application_connector_id,
        application_connector_info=info,
    )
    checked: Definition | None = None
    for _ in range(50):
        with run.read() as session:
            model = session.get_one(Model, arrival.model_id)
            merged = _merged(session, model, changes)
            text = "\n".join(tree.sources.values())
            modules = known_modules(session, model.organization_id, text)
        checked = definitions.check(run.parts.get(Checker), merged, tree, modules)
        with run.transaction() as session:
            model = session.get_one(Model, arrival.model_id, with_for_update=True, populate_existing=True)
            if _merged(session, model, changes).checked_part != checked.checked_part:
                continue
            merged = definitions.with_report_of(_merged(session, model, changes), checked)
            _write(run, session, model, arrival, merged, tree)
            run.complete(session)
            return
    raise Retry("the model is being changed by others all the time")


def _merged(session: Session, model: Model, changes: Changes) -> Definition:
    head = session.scalars(
        select(ModelRevision).where(ModelRevision.model_id == model.model_id, ModelRevision.number == model.head)
    ).first()
    if head is None:
        return definitions.first_definition(changes)
    return definitions.merge(definitions.definition_of(head), changes)


def _write(
    run: RunContext, session: Session, model: Model, arrival: CodeArrival, definition: Definition, tree: Tree
) -> None:
    put_text(session, tree.manifest)
    model.head += 1
    values = {field.name: getattr(definition, field.name) for field in dataclasses.fields(definition)}
    session.add(
        ModelRevision(
            **values,
            revision_id=RevisionId(new_id()),
            model_id=model.model_id,
            number=model.head,
            fingerprint=definitions.fingerprint(definition, definition.feature_group_ids, definition.training_config),
            notebook_id=model.notebook_id,
            created_by=arrival.created_by,
            created_at=run.clock(),
        )
    )
    session.flush()
    groups = [FeatureGroupId(each) for each in definition.feature_group_ids]
    lineage.note_users(session, groups, "model", model.model_id, model.name)
    dependencies = definition.module_dependencies
    note_users(session, model.organization_id, "model", model.model_id, model.name, modules=dependencies)
    _end(session, arrival.arrival_id, ArrivalStatus.COMPLETE, None)
    if arrival.trains:
        start_training(session, run.settings, model.model_id, user_id=arrival.created_by)


def _end(session: Session, arrival_id: CodeArrivalId, status: ArrivalStatus, error: str | None) -> None:
    arrival = session.get(CodeArrival, arrival_id, with_for_update=True)
    if arrival is not None:
        arrival.status, arrival.error = status, error


def _of_upload(session: Session, upload: Upload) -> CodeArrival:
    found = session.scalars(select(CodeArrival).where(CodeArrival.upload_id == upload.upload_id)).first()
    if found is None:
        raise ConflictError("The model of this upload was deleted")
    return found


def _parts(session: Session, upload: Upload) -> list[UploadPart]:
    query = select(UploadPart).where(UploadPart.upload_id == upload.upload_id).order_by(UploadPart.part_number)
    return list(session.scalars(query))


def _as_json(changes: Changes) -> JsonObject:
    given = {field.name: getattr(changes, field.name) for field in dataclasses.fields(changes)}
    return dict(msgspec.to_builtins({name: value for name, value in given.items() if value is not None}))


def _from_json(kept: JsonObject) -> Changes:
    size = kept.get("cpu_size")
    return Changes(**{**kept, **({"cpu_size": CpuSize(size)} if size else {})})


def connector_of(session: Session, model: Model) -> ApplicationConnectorId:
    """The connector that the model's newest revision came through; InvalidParameterError if it came through none."""
    found = session.scalar(
        select(ModelRevision.application_connector_id).where(
            ModelRevision.model_id == model.model_id, ModelRevision.number == model.head
        )
    )
    if found is None:
        raise InvalidParameterError(
            f"applicationConnectorId is missing: the code of model {model.model_id} comes from no repository yet."
        )
    return found


def pending_of(session: Session, model_ids: list[ModelId]) -> dict[ModelId, CodeArrival]:
    """The newest arrival of each of the models that has one."""
    query = select(CodeArrival).join(Model, Model.code_arrival == CodeArrival.arrival_id)
    return {each.model_id: each for each in session.scalars(query.where(Model.model_id.in_(model_ids)))}


KINDS: tuple[RunKind, ...] = (RunKind(RECEIVE, receive, give_up),)

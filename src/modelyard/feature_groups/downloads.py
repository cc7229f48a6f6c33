"""Hands tables out as Avro: parts by index, bytes by offset. The Avro form is made by a run when it is first asked for.

Clients first ask for the list of parts, which waits for that run, and then fetch the parts with ten threads at once.
Source: the SDK's `feature_group_version.py`, `load_as_pandas`, and `execute_feature_group_operation.py`.
"""

from datetime import timedelta

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from modelyard.actions import Call, FileBytes
from modelyard.database import JsonObject
from modelyard.environments import Environments
from modelyard.errors import ConflictError, InvalidParameterError, NotReadyError
from modelyard.execution import After, Permanent, Retry, RunContext, enqueue
from modelyard.feature_groups.records import (
    FeatureGroupOperation,
    FeatureGroupVersion,
    TableEncoding,
    VersionStatus,
)
from modelyard.feature_groups.sizes import DEFAULT, limits_of
from modelyard.feature_groups.twins import opened_parts
from modelyard.feature_groups.versions import to_json
from modelyard.ids import Digest, OrganizationId, RunId
from modelyard.sandbox import Guest, GuestNotStarted, Outcome, Sandbox
from modelyard.sandbox.scratch import ScratchRefused
from modelyard.storage import BlobStore, Table

ENCODE = "feature_groups.encode"
#: After a failed attempt at encoding, the next one is made no sooner.
_AGAIN_AFTER = timedelta(seconds=30)
#: Largest piece that one call hands out.
_MOST_BYTES = 128 * 1024**2


class _Left(msgspec.Struct, frozen=True):
    path: str


class _Encoded(msgspec.Struct, frozen=True):
    files: list[_Left]


def table_of(thing: FeatureGroupVersion | FeatureGroupOperation, what: str) -> Table:
    """The rows of something that has to be complete; an error says why it isn't."""
    if thing.status == VersionStatus.FAILED:
        raise ConflictError(f"{what} has no rows, since it failed: {thing.error}")
    if thing.status != VersionStatus.COMPLETE:
        raise NotReadyError(f"{what} is {thing.status}; its rows can be read once it is COMPLETE")
    return thing.manifest


def list_parts(call: Call, table: Table) -> list[str] | After:
    """Names of the parts, one at least; or what has to end before there are any."""
    encoding = call.session.get(TableEncoding, (table.digest, call.organization_id))
    if encoding is None or _may_try_again(call, encoding):
        return After((_begin(call, table, encoding),))
    if encoding.status == VersionStatus.FAILED:
        raise ConflictError(f"The rows could not be prepared for downloading: {encoding.error}")
    return encoding.digests if encoding.digests is not None else After((encoding.run_id,))


def read_part(call: Call, table: Table, part: int, offset: int, length: int | None = None) -> FileBytes:
    """Bytes of a part from `offset` on; past its end none."""
    encoding = call.session.get(TableEncoding, (table.digest, call.organization_id))
    if encoding is None or encoding.digests is None:
        raise NotReadyError("The parts have to be listed before they are downloaded")
    if not 0 <= part < len(encoding.digests):
        raise InvalidParameterError(f"There is no part {part}; there are {len(encoding.digests)}, counted from 0")
    if offset < 0:
        raise InvalidParameterError(f"The offset is {offset}; it must not be negative")
    size = min(length or call.settings.download_chunk, _MOST_BYTES)
    if size < 0:
        raise InvalidParameterError(f"The chunk size is {size}; it must not be negative")
    path = call.parts.get(BlobStore).path(Digest(encoding.digests[part]))
    return FileBytes(path, offset, size)


def encode(run: RunContext) -> None:
    """Makes the Avro form of a table."""
    key = _key(run.payload)
    with run.read() as session:
        encoding = session.get_one(TableEncoding, key)
        table = msgspec.convert(encoding.table, Table)
    digests = _encode(run, table)
    with run.transaction() as session:
        encoding = session.get_one(TableEncoding, key)
        encoding.digests = list(digests)
        encoding.status, encoding.completed_at = VersionStatus.COMPLETE, run.clock()
        run.complete(session)


def give_up_encoding(session: Session, payload: JsonObject, reason: str) -> None:
    """Says why there is no Avro form; the next download tries again after a while."""
    encoding = session.get(TableEncoding, _key(payload))
    if encoding is not None and encoding.status != VersionStatus.COMPLETE:
        encoding.status, encoding.error = VersionStatus.FAILED, reason


def _begin(call: Call, table: Table, former: TableEncoding | None) -> RunId:
    """Enqueues the encoding; where another call did so at the same moment, waits for that one."""
    payload = {"table": table.digest, "organization": call.organization_id}
    run_id = enqueue(
        call.session, ENCODE, payload, target=table.digest, organization_id=call.organization_id, demand=DEFAULT,
        priority=10,
    )  # fmt: skip
    if former is not None:
        former.status, former.error, former.run_id, former.created_at = (
            VersionStatus.PENDING,
            None,
            run_id,
            call.clock(),
        )
        return run_id
    call.session.add(
        TableEncoding(
            table_digest=table.digest,
            organization_id=call.organization_id,
            table=to_json(table),
            status=VersionStatus.PENDING,
            run_id=run_id,
            created_at=call.clock(),
        )
    )
    try:
        call.session.flush()
    except IntegrityError:
        call.session.rollback()
        return call.session.get_one(TableEncoding, (table.digest, call.organization_id)).run_id
    return run_id


def _may_try_again(call: Call, encoding: TableEncoding) -> bool:
    is_gone = encoding.digests is not None and not all(
        call.parts.get(BlobStore).has(Digest(digest)) for digest in encoding.digests
    )
    return is_gone or (encoding.status == VersionStatus.FAILED and call.clock() - encoding.created_at > _AGAIN_AFTER)


def _key(payload: JsonObject) -> tuple[Digest, OrganizationId]:
    return Digest(payload["table"]), OrganizationId(payload["organization"])


def _encode(run: RunContext, table: Table) -> list[Digest]:
    store, base = run.parts.get(BlobStore), run.parts.get(Environments).base()

    def collect(guest: Guest, result: dict[str, object]) -> list[Digest]:
        digests = []
        for left in msgspec.convert(result, _Encoded).files:
            with guest.open(left.path) as stream:
                digests.append(store.put_stream(stream).digest)
        return digests

    try:
        with base.hold(), opened_parts(store, table) as descriptors:
            outcome: Outcome[list[Digest]] = run.parts.get(Sandbox).run(
                base.interpreter, limits_of(run.settings, None, None), "encode_avro", {}, fds=descriptors,
                on_output=run.log, cancelled=run.cancelled, collect=collect, name="download",
            )  # fmt: skip
    except (GuestNotStarted, msgspec.ValidationError, ScratchRefused) as error:
        raise Retry(f"the rows could not be encoded: {error}") from error
    run.check_cancelled()
    if outcome.error is not None or not outcome.collected:
        if outcome.error is not None and outcome.error.was_killed:
            raise Retry(outcome.error.sentence)
        raise Permanent(outcome.error.sentence if outcome.error else "no file was left")
    return outcome.collected

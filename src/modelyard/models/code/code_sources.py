"""What callers see of a model's code: where it came from, what the check said, and what is on its way.

Source: the SDK's `code_source.py`.
"""

from collections.abc import Mapping

import msgspec

from modelyard.database import JsonObject
from modelyard.ids import Digest, RevisionId
from modelyard.models.records import ArrivalStatus, CodeArrival, ModelRevision
from modelyard.models.wire import CodeSourceShape

#: Bytes up to which a source is shown in lists; describing the one object shows any source.
LISTED_SOURCE = 64 * 1024


def is_shown(revision: ModelRevision, *, listing: bool) -> bool:
    """Whether the revision's source is told; a tree has none that could be."""
    return revision.tree_digest is None and (not listing or revision.source_size <= LISTED_SOURCE)


def code_source(
    revision: ModelRevision, texts: Mapping[Digest, str], modules: list[str], arrival: CodeArrival | None = None
) -> CodeSourceShape:
    """The revision's code; with an arrival that is newer, that one's status and error."""
    coming = arrival if arrival is not None and _is_newer(arrival, revision) else None
    return CodeSourceShape(
        source_type=coming.source_type if coming else revision.source_type,
        source_code=None if coming or revision.tree_digest else texts.get(revision.source_digest),
        application_connector_id=coming.application_connector_id if coming else revision.application_connector_id,
        application_connector_info=_asked(coming) if coming else _text(revision.application_connector_info),
        package_requirements=revision.package_requirements,
        status=_status(coming) if coming else ArrivalStatus.COMPLETE,
        error=coming.error if coming else None,
        publishing_msg={} if coming else revision.publishing_msg,
        module_dependencies=modules,
    )


def awaited(arrival: CodeArrival) -> ModelRevision:
    """What a model shows that has no revision yet: what it was told to be. Belongs to no session."""
    given = arrival.changes
    return ModelRevision(
        revision_id=RevisionId(""),
        model_id=arrival.model_id,
        number=0,
        source_digest=Digest(""),
        source_size=0,
        source_type=arrival.source_type,
        tree_digest=Digest(""),
        train_function_name=given.get("train_function_name", ""),
        predict_function_name=given.get("predict_function_name"),
        predict_many_function_name=given.get("predict_many_function_name"),
        training_input_tables=given.get("training_input_tables", []),
        feature_group_ids=given.get("feature_group_ids", []),
        cpu_size=given.get("cpu_size"),
        memory_gib=given.get("memory_gib"),
        use_gpu=bool(given.get("use_gpu")),
        package_requirements=given.get("package_requirements", []),
        inferred_requirements=[],
        module_dependencies=[],
        publishing_msg={},
        fingerprint=Digest(""),
        created_by=arrival.created_by,
        created_at=arrival.created_at,
    )


def _status(arrival: CodeArrival) -> ArrivalStatus:
    return ArrivalStatus.PENDING if arrival.status == ArrivalStatus.UPLOADING else arrival.status


def _is_newer(arrival: CodeArrival, revision: ModelRevision) -> bool:
    if not revision.number:
        return True
    begun = arrival.begun_at
    return arrival.status != ArrivalStatus.COMPLETE and begun is not None and begun >= revision.created_at


def _asked(arrival: CodeArrival) -> str | None:
    asked: JsonObject = {"branchName": arrival.branch_name, "pythonRoot": arrival.python_root}
    return _text(asked) if arrival.application_connector_id else None


def _text(info: JsonObject | None) -> str | None:
    """The client's word for it is a text."""
    return msgspec.json.encode(info).decode() if info is not None else None

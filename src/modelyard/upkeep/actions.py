"""Environments one can see, and the collection of what nobody needs. Actions of our own.

The official client has no methods for these; it calls them by `client._call_api`.
"""

from modelyard.actions import Auth, Call, action
from modelyard.database import Database, JsonObject
from modelyard.environments import Kept, read_environments
from modelyard.errors import ConflictError, DataNotFoundError, NotReadyError
from modelyard.execution import After, Demand, RunState, enqueue
from modelyard.execution.queue import find_run
from modelyard.execution.records import ENDED
from modelyard.storage import BlobStore
from modelyard.upkeep import environments, runs
from modelyard.upkeep.collecting import collect
from modelyard.upkeep.wire import CollectedShape, DescribedEnvironmentShape, EnvironmentShape

#: Kinds of runs that go on for ever and store no blobs.
LASTING = ("deployments.serve",)
_ERRORS = (DataNotFoundError, ConflictError, NotReadyError)


@action("GET")
def list_environments(call: Call) -> list[EnvironmentShape]:
    """The environments on this machine's disk that the organisation's models and tables use, the largest first."""
    return environments.list_environments(call.session, call.organization_id, read_environments(call.settings))


@action("GET", errors=(DataNotFoundError,))
def describe_environment(call: Call, *, environment_id: str) -> DescribedEnvironmentShape:
    """An environment with its lock, and the organisation's model versions that were trained with it."""
    return environments.describe_environment(call.session, call.organization_id, _find(call, environment_id))


@action("DELETE", auth=Auth.ADMIN, errors=_ERRORS)
def purge_environment(call: Call, *, environment_id: str) -> After | None:
    """Removes an environment from the disk. Refused while anything runs in it.

    Versions that were trained with it keep their lock: what they need is built again from it. The same requirements
    of a new training are resolved anew, to the packages of that day.
    """
    return _in_agent(call, runs.PURGE, {"environmentId": _find(call, environment_id).about.id})


@action("POST", auth=Auth.ADMIN, errors=_ERRORS)
def rebuild_environment(call: Call, *, environment_id: str) -> After | None:
    """Removes an environment and builds it again from its own lock. Refused while anything runs in it."""
    kept = _find(call, environment_id)
    return _in_agent(call, runs.REBUILD, {"environmentId": kept.about.id, "lock": kept.lock})


@action("POST", auth=Auth.ADMIN, own_transaction=True)
def collect_garbage(call: Call) -> CollectedShape:
    """Removes the bytes of what was deleted. An agent does so once an hour by itself (`upkeep_s`)."""
    database, store = call.parts.get(Database), call.parts.get(BlobStore)
    done = collect(database, store, call.clock(), call.settings.blob_grace_s, LASTING)
    return CollectedShape(kept=done.kept, removed=done.removed, removed_bytes=done.removed_bytes, too_new=done.too_new)


def _in_agent(call: Call, kind: str, payload: JsonObject) -> After | None:
    """Has an agent do it, and waits; ConflictError tells why it could not be done."""
    run = find_run(call.session, call.request_id, kind)
    if run is None:
        demand = Demand(cores=0, memory_gib=0)
        who = call.organization_id
        run_id = enqueue(call.session, kind, payload, target=call.request_id, organization_id=who, demand=demand)
        return After((run_id,))
    if run.state not in ENDED:
        return After((run.run_id,))
    if run.state != RunState.COMPLETE:
        raise ConflictError(run.reason or "It could not be done")
    return None


def _find(call: Call, environment_id: str) -> Kept:
    for kept in read_environments(call.settings):
        if kept.about.id == environment_id and environments.is_used(call.session, call.organization_id, kept):
            return kept
    raise DataNotFoundError(f"Environment {environment_id[:100]} was not found; listEnvironments shows those that are")

"""One replica as the agent sees it: a guest that has loaded the model and listens on a socket of its own."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from modelyard.container import Container
from modelyard.deployments.sockets import ReplicaSocket
from modelyard.feature_groups.twins import opened
from modelyard.gpus import find_gpus
from modelyard.ids import ReplicaId, new_id
from modelyard.models.sizes import CORES, CpuSize
from modelyard.models.versions import Deployable
from modelyard.sandbox import Guest, GuestError, Interpreter, Limits, Sandbox
from modelyard.settings import Settings
from modelyard.storage.blobs import BlobStore

Output = Callable[[str, str], None]


class ReplicaFailed(Exception):
    """The replica did not come up; the message is for the user, with their own traceback where there is one."""


class Replica:
    """A replica that is up. `close` ends it and removes all that is left of it."""

    def __init__(self, replica_id: ReplicaId, guest: Guest, place: ReplicaSocket) -> None:
        self.replica_id, self.guest, self.place = replica_id, guest, place

    def wait(self, timeout_s: float) -> GuestError | None:
        """Why it ended; None if it still runs after `timeout_s`."""
        return self.guest.wait(timeout_s)

    def close(self) -> None:
        self.guest.kill()
        self.place.close()


def start(
    parts: Container, settings: Settings, interpreter: Interpreter, served: Deployable, say: Output,
    cancelled: threading.Event,
) -> Replica:  # fmt: skip
    """Starts a replica and waits until the user's `initialize` has ended; ReplicaFailed when it can't be brought up."""
    replica_id = ReplicaId(new_id())
    guest = parts.get(Sandbox).start(interpreter, limits(settings, served), on_output=say, name=f"replica {replica_id}")
    try:
        place = ReplicaSocket(settings, replica_id)
    except OSError:
        guest.kill()
        raise
    replica = Replica(replica_id, guest, place)
    try:
        with opened_files(parts, settings, served) as descriptors:
            fds = [place.listener.fileno(), *descriptors]
            limit_s = settings.initialize_timeout_s
            reply = guest.call("replica", message(served), fds, timeout_s=limit_s, cancelled=cancelled)
        place.hand_over()
        if reply.error is not None:
            raise ReplicaFailed(f"{reply.error.sentence}\n{reply.error.traceback}".rstrip())
    except BaseException:
        replica.close()
        raise
    return replica


def limits(settings: Settings, served: Deployable) -> Limits:
    """What a replica of that version may use."""
    return Limits(
        cores=CORES[CpuSize(served.cpu_size) if served.cpu_size else CpuSize.SMALL],
        memory_gib=served.memory_gib or settings.replica_memory_gib,
        processes=settings.guest_processes,
        scratch_gib=settings.scratch_gib,
        # Replicas live on, so they reserve none, or no training would ever get one: they share what there is.
        gpus=find_gpus() if served.use_gpu else (),
        steady_hashes=False,
    )


@contextlib.contextmanager
def opened_files(parts: Container, settings: Settings, served: Deployable) -> Iterator[list[int]]:
    """Descriptors of all that belongs to the model, in the order of `message`: artifact, files of training, tables."""
    blobs = parts.get(BlobStore)
    digests = [each for each in (served.code.tree, served.artifact, served.files) if each is not None]
    with contextlib.ExitStack() as stack:
        descriptors = [stack.enter_context(blobs.open(digest)).fileno() for digest in digests]
        tables = stack.enter_context(opened(parts, settings, [each.table for each in served.tables]))
        yield [*descriptors, *tables]


def message(served: Deployable) -> dict[str, object]:
    """What the guest is told; see `sandbox/guest/model.py`."""
    return {
        **served.code.message,
        "modules": served.modules,
        "predict_function": served.functions.predict,
        "predict_many_function": served.functions.predict_many,
        "initialize_function": served.functions.initialize,
        "artifact": True,
        "artifact_digest": served.artifact,
        "files": served.files is not None,
        "tables": [{"name": each.table_name} for each in served.tables],
        "thread_safe": served.is_thread_safe,
    }

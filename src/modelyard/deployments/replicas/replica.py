"""One replica as the agent sees it: a guest that has loaded what it serves and listens on a socket of its own."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from modelyard.container import Container
from modelyard.deployments.replicas.sockets import ReplicaSocket
from modelyard.deployments.servable import Servable
from modelyard.feature_groups.twins import opened
from modelyard.ids import Digest, ReplicaId, new_id
from modelyard.sandbox import Guest, GuestError, Interpreter, Sandbox
from modelyard.settings import Settings
from modelyard.storage import BlobStore, Table

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
    parts: Container, settings: Settings, interpreter: Interpreter, served: Servable, say: Output,
    cancelled: threading.Event,
) -> Replica:  # fmt: skip
    """Starts a replica and waits until it is ready, `initialize` done; ReplicaFailed when it can't be brought up."""
    replica_id = ReplicaId(new_id())
    sandbox = parts.get(Sandbox)
    guest = sandbox.start(
        interpreter, served.limits, on_output=say, name=f"replica {replica_id}", code=served.code,
        recurs=bool(served.code),
    )  # fmt: skip
    try:
        place = ReplicaSocket(settings, replica_id)
    except OSError:
        guest.kill()
        raise
    replica = Replica(replica_id, guest, place)
    try:
        with opened_files(parts, settings, served.blobs, served.tables) as descriptors:
            fds = [place.listener.fileno(), *descriptors]
            limit_s = settings.initialize_timeout_s
            reply = guest.call(served.task, served.message, fds, timeout_s=limit_s, cancelled=cancelled)
        place.hand_over()
        if reply.error is not None:
            raise ReplicaFailed(f"{reply.error.sentence}\n{reply.error.traceback}".rstrip())
        sandbox.learn(served.code, interpreter, reply.result or {})
    except BaseException:
        replica.close()
        raise
    return replica


@contextlib.contextmanager
def opened_files(
    parts: Container, settings: Settings, blobs: Sequence[Digest], tables: Sequence[Table]
) -> Iterator[list[int]]:
    """Descriptors of all that a guest gets: blobs, then tables, each in order."""
    store = parts.get(BlobStore)
    with contextlib.ExitStack() as stack:
        descriptors = [stack.enter_context(store.open(digest)).fileno() for digest in blobs]
        yield [*descriptors, *stack.enter_context(opened(parts, settings, tables))]

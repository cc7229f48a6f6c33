"""From a call to the future of its answer. Lives in the gateway's event loop; called by the lane.

Predictions and look-ups go down the deployment's line to a replica; look-ups of rows online to a thread that reads the
database.
"""

import asyncio

from modelyard.database import Database
from modelyard.deployments.calls.frames import Answer, Kind
from modelyard.deployments.calls.line import Line
from modelyard.deployments.calls.routes import Route
from modelyard.deployments.lookups import Lookup, OnlineLookups, for_replica, read_lookup
from modelyard.errors import ConflictError, TooManyRequestsError
from modelyard.ids import OnlineTableId
from modelyard.settings import Settings


class Asking:
    """How one gateway asks."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._settings = settings
        self._online, self._looking_up = OnlineLookups(database, settings), 0

    def ask(self, line: Line, kind: Kind, body: bytes, timed: int = 0) -> "asyncio.Future[Answer]":
        """Sends the call on its way; raises where the deployment answers no such call, or none now.

        With `TIMED`, the answer tells when a replica worked on it.
        """
        route = line.route
        if (kind is Kind.LOOK_UP) is (route.feature_group_id is None):
            raise _served_otherwise(route)
        if kind is not Kind.LOOK_UP:
            wanted = kind | timed if timed else kind
            return line.send(wanted, body) if line.split is None else line.split.send(wanted, body)
        lookup = read_lookup(body, self._settings)
        if route.online_table_id is None:
            return line.send(kind | timed, for_replica(lookup, self._settings))
        line.admit()
        return self._look_up(route.online_table_id, lookup)

    def _look_up(self, table_id: OnlineTableId, lookup: Lookup) -> "asyncio.Future[Answer]":
        """Has a thread find rows online."""
        if self._looking_up >= self._settings.replica_queue:
            raise TooManyRequestsError(f"{self._looking_up} look-ups wait already")
        self._looking_up += 1
        looking = asyncio.get_running_loop().run_in_executor(None, self._online.find, table_id, lookup)
        looking.add_done_callback(self._have_looked_up)
        return looking

    def _have_looked_up(self, _: object) -> None:
        self._looking_up -= 1


def _served_otherwise(route: Route) -> ConflictError:
    if route.feature_group_id is None:
        return ConflictError(f"Deployment {route.deployment_id} serves a model; ask it by predict or predictMultiple")
    return ConflictError(f"Deployment {route.deployment_id} serves a feature group; ask it by lookupFeatures")

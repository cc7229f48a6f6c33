"""Where the rows of an online group are written, remembered for a second, so that a busy writer costs no look at it."""

import threading
import time
from typing import NamedTuple

from modelyard.database import Database
from modelyard.errors import ConflictError
from modelyard.feature_groups.online.groups import online_table_of
from modelyard.feature_groups.tables import get_feature_group
from modelyard.ids import FeatureGroupId, OnlineTableId, OrganizationId

#: Seconds that a group is remembered: so long a change of its keys may go unnoticed. A deleted one is noticed at once.
TRUST_S = 1.0
#: Groups that are remembered at most.
MOST_GROUPS = 10_000


class Target(NamedTuple):
    """What a writer of rows must know."""

    table_id: OnlineTableId
    primary_key: str
    #: The column that holds the moment of writing.
    stamp: str | None


class OnlineTargets:
    """Where rows go, by group; a part of the house. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[OrganizationId, FeatureGroupId], tuple[float, Target]] = {}
        self._lock = threading.Lock()

    def find(self, organization_id: OrganizationId, feature_group_id: FeatureGroupId) -> Target:
        """Where the group's rows are; DataNotFoundError for an unknown group, ConflictError for one not online."""
        known = self._known.get((organization_id, feature_group_id))
        if known is not None and known[0] > time.monotonic():
            return known[1]
        until = time.monotonic() + TRUST_S
        with self._database.read() as session:
            group = get_feature_group(session, organization_id, feature_group_id)
            table_id, keys = online_table_of(group), group.indexing or {}
        if table_id is None:
            raise ConflictError(
                f"Feature group {group.table_name} is made from {group.source_type}; rows are written one by one to "
                "those alone that createOnlineFeatureGroup or createStreamingDataset made"
            )
        target = Target(table_id, str(keys.get("primaryKey")), keys.get("updateTimestampKey"))
        with self._lock:
            if len(self._known) > MOST_GROUPS:
                self._known.clear()
            self._known[organization_id, feature_group_id] = (until, target)
        return target

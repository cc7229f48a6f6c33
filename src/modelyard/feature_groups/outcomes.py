"""What materialising gives: a complete version of a table, or the rows of one, or why there are none."""

from dataclasses import dataclass
from typing import NamedTuple

from modelyard.database import JsonObject
from modelyard.ids import FeatureGroupId, FeatureGroupVersionId
from modelyard.storage import Table


class TableVersion(NamedTuple):
    """A complete version, as who reads its rows needs it."""

    feature_group_id: FeatureGroupId
    feature_group_version: FeatureGroupVersionId
    table_name: str
    table: Table


@dataclass(frozen=True, slots=True)
class Generated:
    """The rows, and the locked packages that made them."""

    table: Table
    lock: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there are no rows, in a sentence; the user's exception where there was one."""

    error: str
    exception: JsonObject | None = None
    lock: str | None = None

"""What a feature group is made from: one immutable record, kept with the group and copied into each of its versions.

The digest names everything that decides the rows: two definitions with equal digests, over equal parent versions,
may share a version. Sizes of machines and descriptions are no part of it.
"""

import hashlib
from typing import Any

import msgspec

from modelyard.ids import DatasetId, DatasetVersionId, FeatureGroupId, FeatureGroupVersionId, OnlineTableId


class Input(msgspec.Struct, frozen=True, rename="camel"):
    """A feature group that a definition reads, by id and by the table name it had then."""

    feature_group_id: FeatureGroupId
    table_name: str
    #: The keyword under which a Python function gets it; None means by position.
    binding: str | None = None


class FeatureExpression(msgspec.Struct, frozen=True, rename="camel"):
    """A column that was added to a query: its name and the expression over the query's own columns."""

    name: str
    expression: str


class Concatenation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Another group whose rows are put below the group's own."""

    feature_group_id: FeatureGroupId
    table_name: str
    merge_type: str
    replace_until_timestamp: int | None = None
    skip_materialize: bool = False


class Definition(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a version is made from; only the fields of its kind are set."""

    #: Read by the query or handed to the function, in order.
    inputs: tuple[Input, ...] = ()
    dataset_id: DatasetId | None = None
    #: The dataset's version that a feature expression reads; None where rows are taken as they are imported.
    dataset_version: DatasetVersionId | None = None
    #: Where the rows of an ONLINE group are.
    online_table_id: OnlineTableId | None = None
    #: As the user wrote it.
    sql: str | None = None
    #: What the engine runs: the same query in its dialect, every table by its registered name.
    engine_sql: str | None = None
    #: The query without what was added to it and taken away by name; None where `sql` is all that there is.
    base_sql: str | None = None
    added: tuple[FeatureExpression, ...] = ()
    dropped: tuple[str, ...] = ()
    #: How rows of the one input are drawn, as the caller gave it; `engine_sql` does it.
    sampling: dict[str, Any] = {}
    #: Which versions of the one input are put together, as the caller gave it.
    merge: dict[str, Any] = {}
    #: The one version that a snapshot holds.
    snapshot_of: FeatureGroupVersionId | None = None
    concatenation: Concatenation | None = None
    source_code: str | None = None
    function_name: str | None = None
    requirements: tuple[str, ...] = ()
    #: The organisation's modules that the source imports itself.
    modules: tuple[str, ...] = ()
    #: Name of the registered function that gives source, name, requirements and modules: the group's definition holds
    #: the name alone, a version's all of it.
    python_function: str | None = None
    #: Arguments of the function that are values: name -> value.
    arguments: dict[str, Any] = {}

    @property
    def digest(self) -> str:
        """Equal for definitions that give equal rows from equal inputs."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

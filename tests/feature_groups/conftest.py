"""A house with tables in it: rows that a test writes down become feature groups, without a dataset around them."""

import io
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from sqlalchemy import select

from modelyard.accounts.records import Organization
from modelyard.clock import utc_now
from modelyard.feature_groups import versions
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.records import FeatureGroup, FeatureGroupVersion, SourceType
from modelyard.feature_groups.registering import find_in_any_case
from modelyard.ids import FeatureGroupId, OrganizationId, new_id
from modelyard.storage import BlobStore, Table, TableColumn, TablePart
from tests.connectors.conftest import buckets as buckets
from tests.connectors.conftest import mariadb as mariadb
from tests.connectors.conftest import postgresql_tcp as postgresql_tcp
from tests.yard import Yard

ENDED = ("COMPLETE", "FAILED")


def stored(store: BlobStore, rows: pa.Table) -> Table:
    """The rows as a table at rest."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(rows, buffer)
    blob = store.put_bytes(buffer.getvalue())
    columns = tuple(TableColumn(field.name, str(field.type), field.nullable) for field in rows.schema)
    return Table((TablePart(blob.digest, rows.num_rows, blob.size),), columns, rows.num_rows, blob.size)


class Tables:
    """Puts tables into a house, and calls its actions."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.store = BlobStore(yard.settings.home / "blobs")

    def organization(self) -> OrganizationId:
        with self.yard.database.read() as session:
            return session.scalars(select(Organization.organization_id)).one()

    def put(self, name: str, /, **columns: list[Any]) -> str:
        """A new version, with these rows, of a feature group that needs no making; gives the group's id."""
        return self.put_rows(name, pa.table(columns))

    def put_rows(self, name: str, rows: pa.Table) -> str:
        table, now = stored(self.store, rows), utc_now()
        organization_id = self.organization()
        with self.yard.database.write() as session:
            group = find_in_any_case(session, organization_id, name)
            if group is None:
                definition = Definition()
                group = FeatureGroup(
                    feature_group_id=FeatureGroupId(new_id()),
                    organization_id=organization_id,
                    table_name=name,
                    source_type=SourceType.BATCH_PREDICTION,
                    definition=versions.to_json(definition),
                    definition_digest=definition.digest,
                    use_gpu=False,
                    use_original_csv_names=False,
                    version_limit=30,
                    last_version_number=0,
                    created_at=now,
                    updated_at=now,
                )
                session.add(group)
                session.flush()
            versions.write_version_from_table(session, group, table)
        return group.feature_group_id

    def sql(self, name: str, sql: str) -> str:
        """A SQL feature group; gives its id."""
        return str(self.yard.call("createFeatureGroup", tableName=name, sql=sql)["featureGroupId"])

    def function(self, name: str, source: str, function_name: str, inputs: list[str], **more: Any) -> str:
        """A Python feature group; gives its id."""
        made = self.yard.call(
            "createFeatureGroupFromFunction", tableName=name, functionSourceCode=source, functionName=function_name,
            inputFeatureGroups=inputs, **more,
        )  # fmt: skip
        return str(made["featureGroupId"])

    def describe(self, group_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.yard.call("describeFeatureGroup", "GET", featureGroupId=group_id)
        return found

    def materialize(self, group_id: str, timeout_s: float = 60) -> dict[str, Any]:
        """A new version that has ended."""
        begun = self.yard.call("createFeatureGroupVersion", featureGroupId=group_id)
        return self.wait(begun["featureGroupVersion"], timeout_s)

    def wait(self, version_id: str, timeout_s: float = 60) -> dict[str, Any]:
        version: dict[str, Any]
        deadline, version = time.monotonic() + timeout_s, {"status": "unknown"}
        while time.monotonic() < deadline:
            version = self.yard.call("describeFeatureGroupVersion", "GET", featureGroupVersion=version_id)
            if version["status"] in ENDED:
                return version
            time.sleep(0.05)
        raise AssertionError(f"still {version['status']} after {timeout_s} s")

    def wait_until(self, is_true: Callable[[], bool], timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not is_true():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def rows(self, version: str | dict[str, Any]) -> pd.DataFrame:
        """The rows of a version, as the official client loads them."""
        version_id = version if isinstance(version, str) else version["featureGroupVersion"]
        frame: pd.DataFrame = self.yard.client().describe_feature_group_version(version_id).load_as_pandas()
        return frame

    def versions(self, group_id: str) -> list[FeatureGroupVersion]:
        """All versions of the group, oldest first."""
        mine = FeatureGroupVersion.feature_group_id == group_id
        with self.yard.database.read() as session:
            return list(session.scalars(select(FeatureGroupVersion).where(mine).order_by(FeatureGroupVersion.number)))


@pytest.fixture
def tables(yard: Yard) -> Tables:
    """Tables in a house of their own."""
    return Tables(yard)


@pytest.fixture(scope="module")
def shared(shared_yard: Yard) -> Tables:
    """Tables in a house that the module's tests share; each uses names of its own."""
    return Tables(shared_yard)

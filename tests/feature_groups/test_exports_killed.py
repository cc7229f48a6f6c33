"""An agent that is killed in the middle of an export: another takes it over, and each row arrives once."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import requests
import sqlalchemy as sa

from modelyard.connectors.databases import find_database
from modelyard.connectors.writing import Order, Outgoing, WriteMode, write_rows
from modelyard.execution import Run
from modelyard.feature_groups.records import FeatureGroupExport
from modelyard.ids import DatabaseConnectorId
from modelyard.settings import Settings
from tests.agents import agent_process, guests
from tests.connectors.conftest import SECRETS, Buckets
from tests.feature_groups.conftest import Tables
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

ROWS = 1_500_000


@pytest.fixture
def house(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A house without an agent whose operator opened loopback and one folder."""
    (settings.home / "out").mkdir()
    monkeypatch.setenv("MODELYARD_FILE_WRITE_ROOTS", str(settings.home / "out"))
    monkeypatch.setenv("MODELYARD_ALLOWED_NETWORKS", "127.0.0.1/32")
    opened = {"allowed_networks": ("127.0.0.1/32",), "file_write_roots": (settings.home / "out",)}
    with Yard(msgspec.structs.replace(settings, **opened), with_agent=False) as yard:
        yield yard


def version_of(yard: Yard, rows: int = ROWS) -> str:
    tables = Tables(yard)
    group_id = tables.put_rows("large", pa.table({"n": pa.array(range(rows)), "t": pa.array(["some text"] * rows)}))
    return tables.versions(group_id)[-1].feature_group_version


def kill_in_the_middle(yard: Yard, export_id: str, has_begun: Callable[[], object]) -> dict[str, Any]:
    """Has one agent begin the export and die, and a second one end it; gives the export."""

    def described() -> dict[str, Any]:
        found: dict[str, Any] = yard.call("describeFeatureGroupExport", "GET", featureGroupExportId=export_id)
        return found

    with agent_process(yard.settings) as first:
        wait_until(has_begun, 60)
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert described()["status"] == "EXPORTING"
    wait_until(lambda: not guests(yard.settings.home))
    with agent_process(yard.settings):
        wait_until(lambda: described()["status"] in ("COMPLETE", "FAILED"), 60)
    with yard.database.read() as session:
        (attempts,) = session.scalars(sa.select(Run.attempt).where(Run.target == export_id)).all()
    assert attempts == 2
    export = described()
    assert export["status"] == "COMPLETE", export["error"]
    return export


def growing(folder: Path) -> Callable[[], bool]:
    """Whether a file below the folder has some bytes and is not whole yet."""
    return lambda: any(path.is_file() and path.stat().st_size > 10_000 for path in folder.rglob("*"))


def test_a_file_for_download_is_whole(house: Yard) -> None:
    version = version_of(house)
    begun = house.call("exportFeatureGroupVersionToConsole", featureGroupVersion=version, exportFileFormat="JSON")
    export_id = begun["featureGroupExportId"]
    kill_in_the_middle(house, export_id, growing(house.settings.home / "blobs" / "incoming"))
    link = house.call("getFeatureGroupVersionExportDownloadUrl", "GET", featureGroupExportId=export_id)
    lines = requests.get(link["downloadUrl"], timeout=60).content.splitlines()
    assert len(lines) == ROWS
    assert [json.loads(lines[at])["n"] for at in (0, ROWS // 2, -1)] == [0, ROWS // 2, ROWS - 1]


def test_a_file_in_a_folder_is_whole_and_no_other_attempt_is_in_its_way(house: Yard) -> None:
    folder, version = house.settings.home / "out", version_of(house)
    begun = house.call(
        "exportFeatureGroupVersionToFileConnector", featureGroupVersion=version, location=f"file://{folder}/a.csv",
        exportFileFormat="CSV",
    )  # fmt: skip
    kill_in_the_middle(house, begun["featureGroupExportId"], growing(folder))
    assert (folder / "a.csv").read_bytes().count(b"\n") == ROWS + 1


def test_parts_in_a_bucket_are_those_of_one_attempt(house: Yard, buckets: Buckets) -> None:
    buckets.put("killed")
    options = {"endpoint": buckets.endpoint, "region": "us-east-1"}
    house.call("createFileConnector", bucket="s3://killed", options=options, secrets=SECRETS)
    version = version_of(house, 300_000)
    begun = house.call(
        "exportFeatureGroupVersionToFileConnector", featureGroupVersion=version, location="s3://killed/out/",
        exportFileFormat="CSV",
    )  # fmt: skip
    export_id = begun["featureGroupExportId"]

    def has_begun() -> bool:
        with house.database.read() as session:
            return session.get_one(FeatureGroupExport, export_id).has_begun

    kill_in_the_middle(house, export_id, has_begun)
    rows = sum(buckets.get("killed", key).count(b"\n") - 1 for key in buckets.keys("killed"))
    assert rows == 300_000


def connect(house: Yard, url: sa.URL) -> str:
    auth = {"host": url.host, "port": url.port, "database": url.database, "user": url.username}
    made = house.call(
        "createDatabaseConnector",
        name="out",
        service="POSTGRESQL",
        auth=auth,
        secrets={"password": url.password or "none"},
    )
    return str(made["databaseConnectorId"])


@pytest.mark.parametrize("mode", ["INSERT", "UPSERT", "REPLACE"])
def test_a_database_has_the_old_rows_or_the_new_ones_each_once(house: Yard, postgresql_tcp: sa.URL, mode: str) -> None:
    connector_id, version = connect(house, postgresql_tcp), version_of(house)
    engine = sa.create_engine(postgresql_tcp, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE there (n bigint, t text)")
        connection.exec_driver_sql("INSERT INTO there VALUES (-1, 'old'), (5, 'old')")
        begun = house.call(
            "exportFeatureGroupVersionToDatabaseConnector", featureGroupVersion=version,
            databaseConnectorId=connector_id, objectName="there", writeMode=mode, databaseFeatureMapping={},
            idColumn="n",
        )  # fmt: skip

        def has_begun() -> bool:
            query = "SELECT 1 FROM pg_stat_progress_copy WHERE datname = current_database() AND bytes_processed > 1e6"
            if connection.exec_driver_sql(query).first() is None:
                return False
            # Whoever reads meanwhile sees what was there before.
            assert connection.exec_driver_sql("SELECT count(*) FROM there").scalar_one() == 2
            return True

        kill_in_the_middle(house, begun["featureGroupExportId"], has_begun)
        count, distinct, old = connection.exec_driver_sql(
            "SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE t = 'old') FROM there"
        ).one()
    engine.dispose()
    expected = {"INSERT": (ROWS + 2, ROWS + 1, 2), "UPSERT": (ROWS + 1, ROWS + 1, 1), "REPLACE": (ROWS, ROWS, 0)}
    assert (count, distinct, old) == expected[mode]


def test_rows_that_were_committed_just_before_a_kill_are_not_inserted_again(
    house: Yard, postgresql_tcp: sa.URL
) -> None:
    connector_id = DatabaseConnectorId(connect(house, postgresql_tcp))
    organization_id = Tables(house).organization()
    with house.database.read() as session:
        database = find_database(session, house.settings, organization_id, connector_id)
    order = Order("once", WriteMode.INSERT, (Outgoing("n", "int64"),), (), "the receipt")
    for _ in range(2):
        write_rows(database, order, [b"1\n", b"2\n"])
    write_rows(database, order, [b"3\n"])
    engine = sa.create_engine(postgresql_tcp)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT n FROM once ORDER BY n").scalars().all() == [1, 2]
    engine.dispose()


def test_a_connection_that_breaks_in_the_middle_is_made_again(settings: Settings, postgresql_tcp: sa.URL) -> None:
    opened = msgspec.structs.replace(settings, allowed_networks=("127.0.0.1/32",))
    engine = sa.create_engine(postgresql_tcp, isolation_level="AUTOCOMMIT")
    with Yard(opened) as yard, engine.connect() as connection:
        connector_id, version = connect(yard, postgresql_tcp), version_of(yard)
        export = yard.client().export_feature_group_version_to_database_connector(
            version, connector_id, "there", "INSERT", {}
        )
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy WHERE datname = current_database()"
        wait_until(lambda: connection.exec_driver_sql(cut).first(), 60)
        ended = export.wait_for_results(90)
        assert ended.status == "COMPLETE", ended.error
        assert connection.exec_driver_sql("SELECT count(*), count(DISTINCT n) FROM there").one() == (ROWS, ROWS)
    engine.dispose()

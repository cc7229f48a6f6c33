"""Materialising on PostgreSQL, where writers don't wait for each other: two agents, and still each version once."""

import threading
from collections.abc import Iterator

import msgspec
import pytest
import requests

from modelyard import app
from modelyard.settings import Settings
from tests.feature_groups.conftest import Tables
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

SLOW = "import time\n\ndef slow(rows):\n    time.sleep(1)\n    rows['id'] += 1\n    return rows\n"


@pytest.fixture
def two_agents(settings: Settings, postgresql_url: str) -> Iterator[Tables]:
    """A house on PostgreSQL with two agents."""
    with Yard(msgspec.structs.replace(settings, database_url=postgresql_url)) as yard:
        parts = app.agent_parts(yard.house)
        second = app.agent(yard.house, parts)
        second.start()
        yield Tables(yard)
        second.stop()
        parts.close()


def test_runs_that_need_the_same_ancestors_make_each_once(two_agents: Tables) -> None:
    tables = two_agents
    tables.put("events", id=[1, 2])
    low = tables.function("low", SLOW, "slow", ["events"])
    middle = tables.sql("middle", "SELECT id * 10 AS id FROM low")
    tops = [tables.sql(f"top_{at}", f"SELECT sum(id) + {at} AS total FROM middle") for at in range(4)]
    ended: dict[str, list[int]] = {}

    def make(group: str) -> None:
        ended[group] = tables.rows(tables.materialize(group))["total"].tolist()

    threads = [threading.Thread(target=make, args=(group,)) for group in [*tops, *tops[:2]]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ended[group] for group in tops] == [[50], [51], [52], [53]]
    assert [[each.status for each in tables.versions(group)] for group in (low, middle)] == [["COMPLETE"]] * 2
    made = [each for group in tops for each in tables.versions(group)]
    assert [each.status for each in made] == ["COMPLETE"] * 6
    assert [each.number for each in tables.versions(tops[0])] == [1, 2]
    assert {each.parents[middle] for each in made if each.parents} == {tables.versions(middle)[0].feature_group_version}


def test_an_import_gives_its_group_a_version_and_outdates_what_reads_it(two_agents: Tables) -> None:
    import pandas as pd

    tables, client = two_agents, two_agents.yard.client()
    client.create_feature_group_from_pandas_df("sales", pd.DataFrame({"n": [1, 2]})).wait_for_upload()
    total = tables.sql("total", "SELECT sum(n) AS n FROM sales")
    assert tables.rows(tables.materialize(total))["n"].tolist() == [3]
    assert tables.describe(total)["latestVersionOutdated"] is False
    client.update_feature_group_from_pandas_df("sales", pd.DataFrame({"n": [5]})).wait_for_upload()
    assert tables.describe(total)["latestVersionOutdated"] is True
    assert tables.rows(tables.materialize(total))["n"].tolist() == [5]


def test_exports_are_kept_and_told_as_on_sqlite(two_agents: Tables) -> None:
    tables, client = two_agents, two_agents.yard.client()
    group_id = tables.put("leaving", id=[1, 2])
    version = tables.versions(group_id)[-1].feature_group_version
    export = client.export_feature_group_version_to_console(version, "CSV")
    assert export.wait_for_results(60).status == "COMPLETE"
    link = client.get_feature_group_version_export_download_url(export.feature_group_export_id)
    assert requests.get(link.download_url, timeout=30).content == b'"id"\n1\n2\n'
    assert [each.status for each in client.list_feature_group_exports(group_id)] == ["COMPLETE"]

"""kill -9 of the gateway while rows are written: what was acknowledged is there, and nothing is half there."""

import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.conftest import Served
from tests.waiting import wait_until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

WRITERS, KILLS = 8, 4
#: Rows of one call: all of them are there, or none.
TOGETHER = 3


def test_no_acknowledged_row_is_lost_whenever_the_gateway_is_killed(home: Path) -> None:
    served = Served(home)
    try:
        served.wait_until_ready()
        place, key = urlsplit(served.url), (home / "admin.key").read_text().strip()
        group_id = _call(place.netloc, key, "createOnlineFeatureGroup", {"tableName": "rows", "primaryKey": "id"})[
            "featureGroupId"
        ]
        acknowledged: list[set[str]] = [set() for _ in range(WRITERS)]
        sent: list[set[str]] = [set() for _ in range(WRITERS)]
        ending = threading.Event()

        def write(writer: int) -> None:
            number = 0
            while not ending.is_set():
                call = f"{writer}-{number}"
                rows = [{"id": f"{call}-{each}", "n": number} for each in range(TOGETHER)]
                sent[writer].add(call)
                try:
                    _call(place.netloc, key, "appendMultipleData", {"featureGroupId": group_id, "data": rows})
                except (OSError, http.client.HTTPException):
                    time.sleep(0.01)
                else:
                    acknowledged[writer].add(call)
                number += 1

        writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        for _ in range(KILLS):
            before = sum(map(len, acknowledged))
            wait_until(lambda: sum(map(len, acknowledged)) > before + 200, 60)  # noqa: B023 - called at once
            victim = served.child("gateway")
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: served.has_child("gateway", other_than=victim), 30)  # noqa: B023 - as above
        ending.set()
        for writer in writers:
            writer.join(60)
        there = _all_rows(place.netloc, key, group_id)
        calls = {identifier.rpartition("-")[0] for identifier in there}
        promised = set.union(*acknowledged)
        assert len(promised) > KILLS * 200
        assert promised <= calls, f"{len(promised - calls)} acknowledged calls were lost"
        assert calls <= set.union(*sent)
        assert {f"{call}-{each}" for call in calls for each in range(TOGETHER)} == there, "a call is half there"
        assert served.interrupt() == 0
    finally:
        served.end()


def _call(netloc: str, key: str, action: str, body: dict[str, object]) -> dict[str, str]:
    connection = http.client.HTTPConnection(netloc, timeout=30)
    try:
        headers = {"apiKey": key, "content-type": "application/json"}
        connection.request("POST", f"/api/v0/{action}", json.dumps(body), headers)
        answer = json.loads(connection.getresponse().read())
        assert answer["success"], answer
        return answer["result"] or {}
    finally:
        connection.close()


def _all_rows(netloc: str, key: str, group_id: str) -> set[str]:
    """Every key, read from a version, which an agent makes of all rows."""
    import abacusai

    group = abacusai.ApiClient(key, server=f"http://{netloc}").describe_feature_group(group_id)
    return set(group.load_as_pandas().id)

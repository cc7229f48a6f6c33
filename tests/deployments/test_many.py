"""A house with very many deployments that nobody asks: lists, a scrape, and what a gateway keeps of them."""

from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest
import requests
import sqlalchemy as sa

from modelyard.accounts.records import Organization
from modelyard.clock import utc_now
from modelyard.deployments import actions
from modelyard.deployments.changes import note_change
from modelyard.deployments.records import Deployment, DeploymentStatus
from modelyard.ids import DeploymentId
from modelyard.observability.logbook import Logbook
from modelyard.settings import Settings
from tests.yard import CallFailed, Yard

MANY = 25


@pytest.fixture
def quiet_yard(settings: Settings) -> Iterator[Yard]:
    """A house without an agent, whose deployments never wake."""
    with Yard(msgspec.structs.replace(settings, wake_timeout_s=0.2), with_agent=False) as opened:
        yield opened


def fill(yard: Yard, project_id: str) -> list[str]:
    """The ids of many deployments that sleep, newest first; some came in the same moment."""
    began = utc_now()
    with yard.database.write() as session:
        organization_id = session.scalars(sa.select(Organization.organization_id)).one()
        rows = [
            {
                "deployment_id": f"d{number:02}", "organization_id": organization_id, "project_id": project_id,
                "model_id": "m", "model_version": "v", "name": f"Number {number}", "status": DeploymentStatus.ACTIVE,
                "created_at": began + timedelta(seconds=number // 3), "auto_deploy": False,
                "skip_metrics_check": False, "arguments_override": False, "batch_streaming_updates": False,
            }
            for number in range(MANY)
        ]  # fmt: skip
        session.execute(sa.insert(Deployment), rows)
        for row in rows:
            note_change(session, DeploymentId(str(row["deployment_id"])))
    return [str(row["deployment_id"]) for row in reversed(rows)]


def listed(yard: Yard, project_id: str, limit: int | None = None, after: str | None = None) -> list[str]:
    found = yard.call("listDeployments", "GET", projectId=project_id, limit=limit, startAfterId=after)
    return [each["deploymentId"] for each in found]


def test_a_list_has_pages_and_without_them_everything(quiet_yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "READ_AT_ONCE", 10)
    project_id = quiet_yard.call("createProject", name="Large", useCase="PYTHON_MODEL")["projectId"]
    newest_first = fill(quiet_yard, project_id)
    assert listed(quiet_yard, project_id) == newest_first
    assert [each.deployment_id for each in quiet_yard.client().list_deployments(project_id)] == newest_first
    paged, page = list[str](), listed(quiet_yard, project_id, limit=4)
    while page:
        paged += page
        page = listed(quiet_yard, project_id, limit=4, after=page[-1])
    assert paged == newest_first
    with pytest.raises(CallFailed, match="limit is 0"):
        listed(quiet_yard, project_id, limit=0)


def test_a_list_asks_the_database_as_often_however_long_it_is(quiet_yard: Yard) -> None:
    project_id = quiet_yard.call("createProject", name="Large", useCase="PYTHON_MODEL")["projectId"]
    asked: list[str] = []
    sa.event.listen(
        quiet_yard.database.engine, "before_cursor_execute", lambda _connection, _cursor, sql, *_: asked.append(sql)
    )
    fill(quiet_yard, project_id)
    counts = list[int]()
    for limit in (1, MANY):
        asked.clear()
        assert len(listed(quiet_yard, project_id, limit=limit)) == limit
        counts.append(sum("FROM deployments" in each or "FROM refresh" in each for each in asked))
    assert counts[0] == counts[1] == 2


def test_of_deployments_that_nobody_asks_a_gateway_keeps_next_to_nothing(quiet_yard: Yard) -> None:
    project_id = quiet_yard.call("createProject", name="Large", useCase="PYTHON_MODEL")["projectId"]
    token = quiet_yard.call("createDeploymentToken", projectId=project_id)["deploymentToken"]
    first, second, *_ = fill(quiet_yard, project_id)
    quiet_yard.call("setDeploymentOptions", "PATCH", deploymentId=first, options={"targetQueue": 2})
    lines = quiet_yard._parts[0].get(Logbook).lines
    assert not lines
    target = {"deploymentToken": token, "deploymentId": second}
    answer = requests.post(f"{quiet_yard.url}/api/v0/predict", params=target, json={"queryData": 1}, timeout=60)
    assert answer.json()["errorType"] == "NotReadyError"
    assert set(lines) == {second}
    scrape = requests.get(f"{quiet_yard.url}/metrics", headers={"apiKey": quiet_yard.key}, timeout=60).text
    assert scrape.count("modelyard_deployment_info{") == MANY
    counted = {line for line in scrape.splitlines() if line.startswith("modelyard_predictions_total{")}
    assert len(counted) == 1
    assert second in counted.pop()

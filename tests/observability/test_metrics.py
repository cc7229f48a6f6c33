"""`/metrics` as a scraper reads it: who may, what is in it, and that the dashboard asks for nothing else."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import parse
from sqlalchemy import select, text

from modelyard.accounts.first_run import add_user
from modelyard.accounts.keys import create_key
from modelyard.accounts.records import Organization, Role
from modelyard.cli.dashboard import dashboard_path
from modelyard.clock import utc_now
from modelyard.settings import Settings
from tests.api.everything import make_strangers
from tests.deployments.conftest import Workshop
from tests.observability.test_actions import Target
from tests.waiting import wait_until
from tests.yard import Yard

TOKEN = "a scraper's secret"
Labels = frozenset[tuple[str, str]]


def scrape(yard: Yard, **headers: str) -> dict[tuple[str, Labels], float]:
    """Every sample by its name and labels, `worker` left out."""
    answer = requests.get(f"{yard.url}/metrics", headers=headers or {"apiKey": yard.key}, timeout=20)
    assert answer.status_code == 200, answer.text
    samples: dict[tuple[str, Labels], float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            key = (sample.name, frozenset((name, value) for name, value in sample.labels.items() if name != "worker"))
            samples[key] = samples.get(key, 0) + sample.value
    return samples


def value(samples: dict[tuple[str, Labels], float], name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def target(yard: Yard, own_workshop: Workshop) -> Target:
    """A deployment in a house of its own, that was asked in every way there is."""
    found = Target(own_workshop)
    found.ask({"x": 1})
    found.ask({"x": 1})
    found.ask({"raise": True})
    return found


@pytest.mark.sandbox
def test_a_scrape_counts_calls_times_replicas_and_runs(yard: Yard, target: Target) -> None:
    requests.post(f"{yard.url}/api/v0/predict?deploymentToken=wrong&deploymentId={target.deployment_id}", timeout=20)
    samples = scrape(yard)
    mine = {"deployment_id": target.deployment_id}
    assert value(samples, "modelyard_predictions_total", **mine, status="200") == 2
    assert value(samples, "modelyard_predictions_total", **mine, status="500") == 1
    assert value(samples, "modelyard_predictions_stray_total", status="403") == 1
    assert value(samples, "modelyard_prediction_seconds_count", **mine) == 3
    assert value(samples, "modelyard_prediction_seconds_bucket", **mine, le="+Inf") == 3
    assert 0 < value(samples, "modelyard_prediction_seconds_sum", **mine) < 60
    assert value(samples, "modelyard_predictions_in_replicas", **mine) == 0
    assert value(samples, "modelyard_replicas", **mine, state="READY") == 1
    assert value(samples, "modelyard_runs", kind="deployments.serve", state="RUNNING") == 1
    assert value(samples, "modelyard_agents") == 1
    assert value(samples, "modelyard_guests") >= 1
    assert value(samples, "modelyard_guest_resident_bytes") > 10e6
    assert value(samples, "modelyard_gateway_resident_bytes") > 10e6
    assert value(samples, "modelyard_database_up") == 1
    info = [dict(labels) for name, labels in samples if name == "modelyard_deployment_info"]
    assert [(each["deployment_id"], each["status"]) for each in info] == [(target.deployment_id, "ACTIVE")]


@pytest.mark.sandbox
def test_the_histogram_never_falls_and_ends_in_all_calls(yard: Yard, target: Target) -> None:
    buckets = {
        float(dict(labels)["le"]): count
        for (name, labels), count in scrape(yard).items()
        if name == "modelyard_prediction_seconds_bucket"
    }
    counts = [count for _, count in sorted(buckets.items())]
    assert counts == sorted(counts)
    assert counts[-1] == 3
    assert {0.0001, 0.001, 0.0025, 0.005, 1.0, 100.0} <= buckets.keys()


@pytest.mark.sandbox
def test_every_gateway_of_a_home_is_in_each_scrape(yard: Yard, target: Target) -> None:
    with Yard(msgspec.structs.replace(yard.settings, port=0), with_agent=False) as other:
        other.key = yard.key
        url = f"{other.url}/api/v0/predict?deploymentToken={target.token}&deploymentId={target.deployment_id}"
        assert requests.post(url, json={"queryData": {"x": 1}}, timeout=20).ok
        for each in (yard, other):
            found = value(scrape(each), "modelyard_predictions_total", deployment_id=target.deployment_id, status="200")
            assert found == 3
    sockets = list((yard.settings.home / "run" / "gateways").glob("*.sock"))
    assert len(sockets) == 1


@pytest.mark.sandbox
def test_calls_that_a_limit_turns_away_are_counted_by_the_limit(yard: Yard, own_workshop: Workshop) -> None:
    target = Target(own_workshop, callsPerSecond=1)
    yard.call("setDeploymentOptions", "PATCH", deploymentId=target.deployment_id, options={"maxBatchSize": 4})
    statuses = [target.ask({"x": 1}).status_code for _ in range(4)]
    assert statuses.count(429) >= 2
    samples = scrape(yard)
    rejected = value(
        samples, "modelyard_predictions_rejected_total", deployment_id=target.deployment_id, limit="deployment"
    )
    assert rejected == statuses.count(429)
    answered = statuses.count(200)
    mine = {"deployment_id": target.deployment_id}
    assert value(samples, "modelyard_prediction_batch_size_sum", **mine) == answered
    assert value(samples, "modelyard_prediction_batch_size_bucket", **mine, le="1") == answered
    _check_dashboard(samples | scrape(yard))


def _check_dashboard(samples: dict[tuple[str, Labels], float]) -> None:
    """Every name and label that the dashboard's queries use is in the scrape."""
    known: dict[str, set[str]] = {}
    for name, labels in samples:
        known.setdefault(name, {"worker"}).update(label for label, _ in labels)
    expressions = [found["expr"] for found in _targets(json.loads(dashboard_path().read_text()))]
    assert len(expressions) > 20
    for template in expressions:
        expression = template.replace("$__rate_interval", "5m").replace("$__range", "1h").replace("$deployment", ".*")
        parse(expression)
        names = set(re.findall(r"\bmodelyard_\w+", expression))
        # Counters of what has not happened yet have no samples: they are known by the families' own names.
        assert names <= known.keys() | {"modelyard_predictions_stray_total"}, expression
        for name, selectors in re.findall(r"(modelyard_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors)) <= known[name], expression
        clauses = re.findall(r"(?:by|on|group_left) \(([^)]*)\)", expression)
        grouped = {label for clause in clauses for label in clause.split(", ")}
        assert grouped <= set().union(*(known.get(name, {"status"}) for name in names)), expression


def _targets(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        yield from panel.get("targets", ())


def test_the_dashboards_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    board = json.loads(dashboard_path().read_text())
    cells = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


# -- who may ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A house without an agent whose operator has set a token."""
    home = tmp_path_factory.mktemp("home")
    with Yard(Settings.load({}, home=home, port=0, metrics_token=TOKEN), with_agent=False) as opened:
        yield opened


@pytest.mark.parametrize(
    "headers",
    [{}, {"apiKey": ""}, {"apiKey": "s2_wrong"}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "},
     {"Authorization": f"Basic {TOKEN}"}],
)  # fmt: skip
def test_nobody_reads_metrics_without_a_key_or_the_token(guarded: Yard, headers: dict[str, str]) -> None:
    answer = requests.get(f"{guarded.url}/metrics", headers=headers, timeout=20)
    assert answer.status_code == 403
    assert answer.json()["errorType"] == "GenericPermissionDeniedError"
    assert "modelyard_" not in answer.text


def test_without_the_setting_an_empty_token_opens_nothing(shared_yard: Yard) -> None:
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer"}):
        assert requests.get(f"{shared_yard.url}/metrics", headers=headers, timeout=20).status_code == 403


def test_the_operators_token_and_an_administrators_key_open_them(guarded: Yard) -> None:
    for headers in (
        {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": f"Bearer {guarded.key}"}, {"apiKey": guarded.key},
    ):  # fmt: skip
        assert value(scrape(guarded, **headers), "modelyard_agents") == 0


def test_an_organisation_among_others_sees_its_own_alone(guarded: Yard) -> None:
    stranger, _ = make_strangers(guarded, "others")
    samples = scrape(stranger)
    assert not [name for name, _ in samples if name.startswith(("modelyard_agent", "modelyard_gateway"))]
    assert [name for name, _ in samples if name == "modelyard_database_up"]
    assert [name for name, _ in scrape(guarded, Authorization=f"Bearer {TOKEN}") if name == "modelyard_agents"]


def test_members_and_viewers_are_refused(guarded: Yard) -> None:
    for role in (Role.MEMBER, Role.VIEWER):
        with guarded.database.write() as session:
            organization = session.scalars(select(Organization).order_by(Organization.created_at)).first()
            assert organization
            user = add_user(session, organization, role, f"{role}@localhost", utc_now, role)
            key = create_key(session, user.user_id, "test", utc_now())[1]
        answer = requests.get(f"{guarded.url}/metrics", headers={"apiKey": key}, timeout=20)
        assert (answer.status_code, answer.json()["errorType"]) == (403, "PermissionDeniedError")


def test_while_the_database_does_not_answer_the_token_still_opens_what_is_in_memory(tmp_path: Path) -> None:
    with Yard(Settings.load({}, home=tmp_path, port=0, metrics_token=TOKEN), with_agent=False) as yard:
        with yard.database.engine.begin() as connection:
            connection.execute(text("ALTER TABLE deployments RENAME TO away"))
            connection.execute(text("ALTER TABLE api_keys RENAME TO keys_away"))
        samples = scrape(yard, Authorization=f"Bearer {TOKEN}")
        assert value(samples, "modelyard_database_up") == 0
        assert value(samples, "modelyard_gateway_open_files") > 0
        refused = requests.get(f"{yard.url}/metrics", headers={"apiKey": yard.key}, timeout=20)
        assert (refused.status_code, refused.json()["errorType"]) == (500, "InternalServerError")
        with yard.database.engine.begin() as connection:
            connection.execute(text("ALTER TABLE away RENAME TO deployments"))
            connection.execute(text("ALTER TABLE keys_away RENAME TO api_keys"))


def test_a_foreign_host_name_is_refused(guarded: Yard) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": "evil.example"}
    assert requests.get(f"{guarded.url}/metrics", headers=headers, timeout=20).status_code == 403


def test_gateways_of_a_home_whose_path_is_too_long_for_a_socket_find_each_other(tmp_path: Path) -> None:
    settings = Settings.load({}, home=tmp_path / ("long" * 30), port=0)
    with Yard(settings, with_agent=False) as yard, Yard(settings, with_agent=False) as other:
        for each in (yard, other):
            answer = requests.get(f"{each.url}/metrics", headers={"apiKey": yard.key}, timeout=20)
            # Both live in this process, which is what names a worker.
            assert answer.text.count("modelyard_gateway_resident_bytes{") == 2


def test_a_socket_that_a_killed_gateway_left_is_removed(guarded: Yard) -> None:
    left = guarded.settings.home / "run" / "gateways" / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    assert left.exists()
    wait_until(lambda: scrape(guarded, Authorization=f"Bearer {TOKEN}") and not left.exists())

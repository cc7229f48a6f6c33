"""What the gateway's thread writes: rows that add up, a database that goes away, calls that wait."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from modelyard.database import Database
from modelyard.deployments.calls.line import Line
from modelyard.deployments.calls.tally import Tally
from modelyard.ids import DeploymentId
from modelyard.observability import logbook
from modelyard.observability.logbook import Entry, Logbook, without_secrets
from modelyard.observability.prediction_logs import read_logs
from modelyard.observability.records import DeploymentStatistic
from modelyard.observability.statistics import read_points
from modelyard.settings import Settings

DEPLOYMENT = DeploymentId("d1")
START = datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)


class Desk:
    """A logbook with a clock that stands still, and the tally of one deployment."""

    def __init__(self, database: Database, settings: Settings, tally: Tally | None = None) -> None:
        self.now, self.database, self.tally = START, database, tally or Tally()
        self.logbook = Logbook(database, settings, lambda: self.now)
        self.logbook.lines = {DEPLOYMENT: cast(Line, SimpleNamespace(tally=self.tally))}

    def call(self, *statuses: int) -> None:
        for status in statuses:
            self.tally.note(status, 0.01)

    def points(self, minutes: int = 5) -> list[Any]:
        with self.database.read() as session:
            return read_points(session, DEPLOYMENT, START, START + timedelta(minutes=minutes))


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, settings)


def entry(number: int, query: bytes = b'{"queryData":1}') -> Entry:
    return Entry(DEPLOYMENT, number, f"r{number}", "predict", 200, 1500, len(query), query, 1, b"2", None)


def test_a_minute_is_one_row_however_often_it_is_written(desk: Desk) -> None:
    for _ in range(3):
        desk.call(200, 200, 500)
        desk.logbook.write()
    with desk.database.read() as session:
        (row,) = session.scalars(sa.select(DeploymentStatistic)).all()
    assert row.statuses == {"200": 6, "500": 3}
    assert sum(row.latencies.values()) == 9
    assert row.seconds == pytest.approx(0.09)


def test_minutes_are_told_apart_and_quiet_ones_are_points_of_zero(desk: Desk) -> None:
    desk.call(200)
    desk.logbook.write()
    desk.now += timedelta(minutes=2)
    desk.call(200, 429)
    desk.logbook.write()
    points = desk.points()
    assert [point.calls for point in points] == [1, 0, 2, 0, 0, 0]
    assert [point.errors for point in points][:3] == [0, 0, 1]
    assert points[1].percentile_ms(0.5) is None


def test_gateways_are_added_up(desk: Desk, settings: Settings) -> None:
    other = Desk(desk.database, settings)
    desk.call(200, 200)
    other.call(200, 500)
    desk.logbook.write()
    other.logbook.write()
    assert desk.points()[0].statuses == {"200": 3, "500": 1}


def test_nothing_is_lost_while_the_database_does_not_answer(desk: Desk) -> None:
    with desk.database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE deployment_statistics RENAME TO away"))
    desk.call(200, 200)
    desk.logbook.add(entry(1))
    with pytest.raises(sa.exc.SQLAlchemyError):
        desk.logbook.write()
    desk.now += timedelta(minutes=1)
    desk.call(500)
    with pytest.raises(sa.exc.SQLAlchemyError):
        desk.logbook.write()
    with desk.database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO deployment_statistics"))
    desk.logbook.write()
    assert [point.calls for point in desk.points()][:2] == [2, 1]
    assert desk.logbook.written == 1


def test_nothing_is_written_while_nobody_calls(desk: Desk) -> None:
    writes: list[str] = []
    sa.event.listen(desk.database.engine, "before_cursor_execute", lambda *given: writes.append(given[2]))
    desk.logbook.write()
    assert writes == []


def test_calls_that_find_the_ring_full_are_counted_as_dropped(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logbook, "RING", 3)
    for number in range(5):
        desk.logbook.add(entry(number))
    assert (desk.logbook.waiting, desk.logbook.dropped) == (3, 2)
    desk.logbook.stop()
    assert (desk.logbook.waiting, desk.logbook.written) == (0, 3)
    assert "2 sampled predictions were not written down" in caplog.text


def test_logs_are_read_on_from_the_last_one(desk: Desk) -> None:
    for number in (1, 2, 2, 3):
        desk.logbook.add(entry(number)._replace(request_id=f"r{desk.logbook.waiting}"))
    desk.logbook.write()
    seen: list[str] = []
    after: tuple[str, int | None] = ("", None)
    with desk.database.read() as session:
        for _ in range(4):
            (last,) = read_logs(session, DEPLOYMENT, 1, *after)
            after = last.request_id, last.timestamp_ms
            seen.append(last.request_id)
        assert read_logs(session, DEPLOYMENT, 1, seen[-1], None) == []
        assert [each.request_id for each in read_logs(session, DEPLOYMENT, 9, "", 2)] == ["r0"]
    assert seen == ["r3", "r2", "r1", "r0"]


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (b'{"deploymentToken":"secret","queryData":1}', b'{"queryData":1}'),
        (b'{"deploymentToken":"secret', None),
        (b'{"queryData":1}', b'{"queryData":1}'),
    ],
)
def test_a_token_in_a_body_is_not_written_down(query: bytes, kept: bytes | None) -> None:
    assert without_secrets(query, is_whole=query.endswith(b"}")) == kept

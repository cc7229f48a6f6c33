"""What a gateway reads when something changes: what has changed, and everything only where it can't be told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from modelyard.clock import utc_now
from modelyard.database import Database
from modelyard.deployments import changes as changing
from modelyard.deployments import tokens
from modelyard.deployments.calls.routes import RoutingTable, read_table
from modelyard.deployments.calls.routing import Routing
from modelyard.deployments.changes import Changes, note_change, read_changes, read_revision
from modelyard.deployments.records import (
    Deployment,
    DeploymentStatus,
    Replica,
    ReplicaState,
    RoutingChange,
    RoutingRevision,
)
from modelyard.execution.liveness import machine_name
from modelyard.ids import DeploymentId, ModelId, ModelVersionId, OrganizationId, ProjectId, ReplicaId, ServingId

MANY = 50


class Watched:
    """A gateway's routing, without its thread, and what it told of."""

    def __init__(self, database: Database, home: Path) -> None:
        self.routing = Routing(database, home, poll_s=3600.0)
        self.routing.start()
        self.heard: list[tuple[RoutingTable, Changes | None]] = []
        self.routing.on_change(lambda table, changes: self.heard.append((table, changes)))

    @property
    def last(self) -> tuple[RoutingTable, Changes | None]:
        return self.heard[-1]


@pytest.fixture
def watched(database: Database, tmp_path: Path) -> Iterator[Watched]:
    with database.write() as session:
        for number in range(MANY):
            add(session, f"d{number}")
    found = Watched(database, tmp_path)
    yield found
    found.routing.close()


def add(session: Session, name: str) -> None:
    session.add(
        Deployment(
            deployment_id=DeploymentId(name), organization_id=OrganizationId("o"), project_id=ProjectId("p"),
            model_id=ModelId("m"), model_version=ModelVersionId("v"), name=name, status=DeploymentStatus.ACTIVE,
            created_at=utc_now(), auto_deploy=False, skip_metrics_check=False,
        )
    )  # fmt: skip
    session.flush()
    note_change(session, DeploymentId(name))


def limit(database: Database, name: str, calls_per_second: int) -> None:
    with database.write() as session:
        session.get_one(Deployment, name).calls_per_second = calls_per_second
        note_change(session, DeploymentId(name))


def add_replica(session: Session, deployment_id: str) -> None:
    session.get_one(Deployment, deployment_id).serving_id = ServingId("s")
    session.add(
        Replica(
            replica_id=ReplicaId("r"), deployment_id=DeploymentId(deployment_id), serving_id=ServingId("s"),
            state=ReplicaState.READY, machine=machine_name(), socket="/nowhere", is_thread_safe=False,
            started_at=utc_now(),
        )
    )  # fmt: skip
    note_change(session, DeploymentId(deployment_id))


def statements(database: Database) -> list[str]:
    """What is asked of the deployments' table from now on."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM deployments" in statement:
            found.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    return found


def test_a_change_has_a_gateway_read_what_changed_and_nothing_else(database: Database, watched: Watched) -> None:
    before = watched.routing.table.routes
    asked = statements(database)
    limit(database, "d7", 5)
    table, changes = watched.last
    assert changes == Changes(frozenset({"d7"}), frozenset())
    assert len(asked) == 2  # the one that changes it looks for it, too
    assert all("WHERE deployments.deployment_id" in each for each in asked)
    assert table.routes["d7"].calls_per_second == 5
    assert {name for name, route in table.routes.items() if route is not before[name]} == {"d7"}
    assert before["d7"].calls_per_second is None  # a table is never changed


def test_what_is_read_bit_by_bit_is_what_is_read_at_once(database: Database, watched: Watched) -> None:
    with database.write() as session:
        add(session, "new")
        add_replica(session, "d3")
    with database.write() as session:
        session.delete(session.get_one(Deployment, "d5"))
        note_change(session, DeploymentId("d5"))
    with database.write() as session:
        token = tokens.create_token(session, utc_now, OrganizationId("o"), ProjectId("p"), None).deployment_token
        other = tokens.create_token(session, utc_now, OrganizationId("o"), ProjectId("p"), None).deployment_token
    with database.write() as session:
        tokens.limit_token(session, OrganizationId("o"), token, 3)
        tokens.delete_token(session, OrganizationId("o"), other)
    assert all(changes is not None for _, changes in watched.heard[1:])
    table = watched.routing.table
    assert table.routes["d3"].places
    assert table.tokens == {token: "p"}
    assert table.limits == {token: 3}
    with database.read() as session:
        assert read_table(session, read_revision(session)) == table


def test_a_number_that_was_raised_without_a_word_has_everything_read(database: Database, watched: Watched) -> None:
    with database.write() as session:
        session.get_one(Deployment, "d1").calls_per_second = 9
        session.get_one(RoutingRevision, 1).revision += 1
    limit(database, "d2", 5)
    table, changes = watched.last
    assert changes is None
    assert (table.routes["d1"].calls_per_second, table.routes["d2"].calls_per_second) == (9, 5)


def test_a_database_that_was_put_back_has_everything_read(database: Database, watched: Watched) -> None:
    with database.write() as session:
        session.get_one(RoutingRevision, 1).revision = 3
        session.execute(sa.delete(RoutingChange).where(RoutingChange.revision > 3))
    limit(database, "d2", 5)
    assert watched.last[1] is None


def test_changes_are_kept_for_a_while_only(
    database: Database, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "KEPT", 10)
    monkeypatch.setattr(changing, "PRUNE_EVERY", 4)
    known = watched.routing.table.revision
    for number in range(20):
        limit(database, "d1", number + 1)
    with database.read() as session:
        kept = session.scalar(sa.select(sa.func.count()).select_from(RoutingChange)) or 0
        assert 10 <= kept < 10 + 4
        assert read_changes(session, known, known + 20) is None
        assert read_changes(session, known + 10, known + 20) == Changes(frozenset({"d1"}), frozenset())


def test_one_change_of_very_many_has_everything_read(
    database: Database, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "MOST", 10)
    with database.write() as session:
        for number in range(11):
            session.get_one(Deployment, f"d{number}").calls_per_second = 5
            note_change(session, DeploymentId(f"d{number}"))
    table, changes = watched.last
    assert changes is None
    assert sum(route.calls_per_second == 5 for route in table.routes.values()) == 11


def test_what_a_transaction_that_failed_had_changed_is_no_change(database: Database, watched: Watched) -> None:
    heard = len(watched.heard)

    def fail() -> None:
        with database.write() as session:
            note_change(session, DeploymentId("d1"))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert len(watched.heard) == heard
    with database.read() as session:
        assert read_revision(session) == watched.routing.table.revision

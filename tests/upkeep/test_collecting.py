"""Blobs that nothing names go, and no others: by random histories, beside writers, and after real deletions."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st
from sqlalchemy import delete

from modelyard.clock import utc_now
from modelyard.database import Database, Record, at_one_moment
from modelyard.execution import Run, RunState
from modelyard.ids import OrganizationId, RunId, new_id
from modelyard.storage import BlobStore
from modelyard.upkeep.collecting import Collected, collect
from modelyard.upkeep.references import WITHOUT_DIGESTS, _readable, find_referenced
from tests.models.house import make_model, make_table, wait_for_end
from tests.yard import CallFailed, Yard

LATER = timedelta(hours=1)


class Place:
    """A database and a store, and rows that name blobs in every way in which one may be named."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database, self.store = database, BlobStore(root)

    def name(self, digest: str, way: int) -> str:
        """Writes a row that names the blob; gives the row's id."""
        texts: list[dict[str, Any]] = [
            {"payload": {"blob": digest}},
            {"payload": {"parts": [{"digest": digest, "rows": 1}]}},
            {"payload": {}, "reason": f"x {digest}, y"},
            {"payload": {"list": ["0" * 64, digest]}},
        ]
        run_id = RunId(new_id())
        with self.database.write() as session:
            session.add(
                Run(
                    run_id=run_id, kind="test", target="t", organization_id=OrganizationId("o"),
                    state=RunState.COMPLETE, priority=0, cores=0, memory_gib=0, gpus=0, attempt=1, max_attempts=1,
                    fence=1, not_before=utc_now(), cancel_requested=False, created_at=utc_now(),
                    **texts[way % len(texts)],
                )
            )  # fmt: skip
        return run_id

    def forget(self, run_id: str) -> None:
        with self.database.write() as session:
            session.execute(delete(Run).where(Run.run_id == run_id))

    def collect(self, at: datetime | None = None, grace_s: float = 60) -> Collected:
        return collect(self.database, self.store, at or utc_now() + LATER, grace_s)


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Place:
    return Place(database, tmp_path / "blobs")


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    database = Database(f"sqlite:///{folder / 'test.db'}")
    database.migrate()
    yield Place(database, folder / "blobs")
    database.close()


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "name", "forget", "collect"]), st.integers(0, 7), st.integers(0, 3)), max_size=30
)


@given(steps=STEPS)
@of_hypothesis(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_named_blobs_stay_and_others_go(
    shared_place: Place, steps: list[tuple[str, int, int]]
) -> None:
    place, named = shared_place, dict[str, list[str]]()
    with place.database.write() as session:
        session.execute(delete(Run))
    place.collect()
    there: set[str] = set()
    for step, number, way in steps:
        if step in ("put", "name"):
            digest = place.store.put_bytes(b"%d" % number).digest
            there.add(digest)
            if step == "name":
                named.setdefault(digest, []).append(place.name(digest, way))
        elif step == "forget" and named:
            chosen = sorted(named)[number % len(named)]
            place.forget(named[chosen].pop())
            if not named[chosen]:
                del named[chosen]
        elif step == "collect":
            place.collect()
            there &= set(named)
        assert set(place.store.digests()) == there >= set(named)
    place.collect()
    assert set(place.store.digests()) == set(named)


def test_what_is_younger_than_the_grace_or_than_work_under_way_stays(place: Place) -> None:
    digest = place.store.put_bytes(b"new").digest
    assert place.collect(at=utc_now(), grace_s=600).too_new == 1
    running = place.name("0" * 64, 0)
    with place.database.write() as session:
        run = session.get_one(Run, RunId(running))
        run.state, run.started_at = RunState.RUNNING, utc_now() - timedelta(minutes=5)
    assert place.collect().too_new == 1, "a run that goes on began before it"
    assert collect(place.database, place.store, utc_now() + LATER, 60, ("test",)).removed == 1
    assert not place.store.has(digest)


def test_storing_the_same_bytes_again_makes_a_blob_new(place: Place) -> None:
    digest = place.store.put_bytes(b"again").digest
    stored = place.store.path(digest).stat().st_ctime
    while place.store.path(digest).stat().st_ctime <= stored:
        place.store.put_bytes(b"again")
    between = datetime.fromtimestamp((stored + place.store.path(digest).stat().st_ctime) / 2, UTC)
    assert place.store.delete_if_older(digest, between) is None
    assert place.store.delete_if_older(digest, utc_now() + LATER) == len(b"again")
    assert place.store.delete_if_older(digest, utc_now() + LATER) is None


def test_who_stores_beside_a_collection_finds_all_that_it_stored(place: Place) -> None:
    ending = threading.Event()
    lost: list[str] = []

    def write(writer: int) -> None:
        number = 0
        while not ending.is_set():
            blob = place.store.put_bytes(b"%d" % (number % 50))  # the same bytes over and over, by several
            if not place.store.has(blob.digest):
                lost.append(f"{writer}-{number}")
            number += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    for _ in range(10):
        place.collect(at=utc_now(), grace_s=60)
    ending.set()
    for writer in writers:
        writer.join()
    assert lost == []


def test_every_column_of_digests_is_looked_at() -> None:
    for table in Record.metadata.sorted_tables:
        readable = {column.name for column in _readable(table)}
        digests = {column.name for column in table.columns if "digest" in column.name}
        assert table.name in WITHOUT_DIGESTS or digests <= readable, table.name


@pytest.mark.sandbox
def test_after_a_model_was_deleted_its_bytes_are_gone_and_others_stay(shared_yard_of_each: Yard) -> None:
    yard = shared_yard_of_each
    store = BlobStore(yard.settings.home / "blobs")
    source = "def train(t):\n    return list(range({n}))\n\ndef predict(m, q):\n    return len(m)\n"
    make_table(yard, "collected", {"x": [1, 2, 3]})
    first, second = (
        make_model(yard, functionSourceCode=source.format(n=n), trainingInputTables=["collected"]) for n in (1000, 2000)
    )
    versions = [wait_for_end(yard, each["latestModelVersion"]["modelVersion"]) for each in (first, second)]
    assert {version["status"] for version in versions} == {"COMPLETE"}, versions
    before = set(store.digests())
    yard.call("deleteModel", "DELETE", modelId=first["modelId"])
    done = collect(yard.database, store, utc_now() + LATER, 60)
    assert done.removed > 0
    with yard.database.read() as session:
        at_one_moment(session)
        named = find_referenced(session)
    there = {bytes.fromhex(digest) for digest in store.digests()}
    assert there <= named, "nothing is left that nothing names"
    assert 0 < len(there) < len(before)
    project = yard.call("describeModel", "GET", modelId=second["modelId"])["projectId"]
    client = yard.client()
    deployment = client.create_deployment(model_version=versions[1]["modelVersion"]).wait_for_deployment()
    token = client.create_deployment_token(project).deployment_token
    assert client.predict(token, deployment.deployment_id, {}) == 2000


def test_a_collection_can_be_asked_for(shared_yard: Yard) -> None:
    BlobStore(shared_yard.settings.home / "blobs").put_bytes(b"nobody's")
    assert shared_yard.call("collectGarbage")["tooNew"] >= 1
    with pytest.raises(CallFailed, match="403"):
        shared_yard.call("collectGarbage", key="s2_" + "f" * 32)

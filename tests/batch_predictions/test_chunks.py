"""Chunks: shared by several guests, tried once more, kept over the death of an agent, never predicted twice."""

import itertools
import os
import platform
import re
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.batch_predictions.chunks import Plan
from modelyard.clock import utc_now
from modelyard.container import Container
from modelyard.execution import RunState
from modelyard.execution.records import Run
from modelyard.settings import Settings
from modelyard.storage import BlobStore
from modelyard.upkeep.janitor import keep_up
from tests.agents import agent_process
from tests.batch_predictions.bench import Bench
from tests.waiting import wait_until
from tests.yard import Yard

MANY = "import time, uuid\n\n\ndef train(*tables):\n    return 10\n\n\ndef predict_many(model, queries):\n"
#: Chunks of 16,384 rows.
ROWS = 100_000
STARTS = list(range(0, ROWS, 16_384))


def logs(bench: Bench, version: dict[str, Any]) -> list[str]:
    """What the newest attempt printed."""
    found = bench.yard.call(
        "getBatchPredictionVersionLogs", "GET", batchPredictionVersion=version["batchPredictionVersion"]
    )
    lines: list[str] = found["logs"]
    return lines


def kept(home: Path, version_id: str) -> list[int]:
    """Numbers of the chunks that are safe."""
    lines = [line for path in home.glob(f"results/{version_id}/*/*.journal") for line in path.read_text().splitlines()]
    return sorted(int(found[1]) for line in lines if (found := re.match(r'\{"number":(\d+)', line)))


@pytest.mark.sandbox
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how others keep memory is not known")
def test_memory_that_a_function_freed_is_there_when_it_wants_some_again(bench: Bench) -> None:
    body = """    import numpy, resource
    def work():
        return [numpy.ones(64_000) for _ in range(16)]
    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        work()
    return [resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before] * len(queries)
"""
    [line] = bench.lines(bench.predict(bench.deploy(MANY + body, bench.table(x=[1]))))
    assert line["prediction"] < 1000  # they have 2,000 pages each time


@pytest.mark.sandbox
def test_chunks_of_a_batch_that_is_deleted_while_it_runs_go_with_its_run(bench: Bench) -> None:
    home = bench.yard.settings.home
    body = "    time.sleep(0.3)\n    return queries['x'] * model\n"
    batch = bench.define(bench.deploy(MANY + body, bench.table(x=list(range(ROWS)))))
    version_id = bench.yard.call("startBatchPrediction", batchPredictionId=batch)["batchPredictionVersion"]
    wait_until(lambda: kept(home, version_id) != [], 60)
    bench.yard.call("deleteBatchPrediction", "DELETE", batchPredictionId=batch)
    wait_until(lambda: not (home / "results" / version_id).exists(), 30)


@pytest.mark.sandbox
def test_chunks_that_an_agent_left_behind_go_with_the_next_round_of_upkeep(settings: Settings) -> None:
    with Yard(settings, with_agent=False) as yard:
        bench = Bench(yard)
        with agent_process(yard.settings) as first:
            body = "    time.sleep(0.5)\n    return queries['x']\n"
            batch = bench.define(bench.deploy(MANY + body, bench.table(x=list(range(ROWS)))))
            version_id = yard.call("startBatchPrediction", batchPredictionId=batch)["batchPredictionVersion"]
            wait_until(lambda: kept(settings.home, version_id) != [], 60)
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
        parts = Container()
        parts.add(BlobStore(settings.home / "blobs"))
        keeping = msgspec.structs.replace(yard.settings, tables_limit_gib=0.0, environments_limit_gib=0.0)
        keep_up(yard.database, parts, keeping, utc_now(), ())
        assert kept(settings.home, version_id)  # it is still to be gone on with
        yard.call("deleteBatchPrediction", "DELETE", batchPredictionId=batch)
        keep_up(yard.database, parts, keeping, utc_now(), ())
        assert list((settings.home / "results").iterdir()) == []


@pytest.mark.sandbox
def test_chunks_that_were_kept_are_not_predicted_again_after_a_kill(settings: Settings) -> None:
    body = (
        "    print('chunk', queries['x'].iloc[0], flush=True)\n    time.sleep(0.5)\n    return queries['x'] * model\n"
    )
    with Yard(settings, with_agent=False) as yard:
        bench = Bench(yard)
        with agent_process(yard.settings) as first:
            deployment_id = bench.deploy(MANY + body, bench.table(x=list(range(ROWS))))
            batch = bench.define(deployment_id)
            version_id = yard.call("startBatchPrediction", batchPredictionId=batch)["batchPredictionVersion"]
            wait_until(lambda: len(kept(settings.home, version_id)) >= 2, 60)
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
        before = kept(settings.home, version_id)
        assert 2 <= len(before) < len(STARTS)
        with agent_process(yard.settings):
            version = bench.ended(version_id)
            wait_until(lambda: not list((settings.home / "results").iterdir()))  # what was kept goes with the end
        said = logs(bench, version)
        again = sorted(int(line.split()[1]) for line in said if line.startswith("chunk "))
        assert again == [start for number, start in enumerate(STARTS) if number not in before]
        assert f"modelyard: {len(before)} of {len(STARTS)} chunks are there already" in said
        assert (version["totalPredictions"], version["failedPredictions"]) == (ROWS, 0)
        lines = bench.lines(version)
        assert [(line["x"], line["prediction"]) for line in lines] == [(x, 10 * x) for x in range(ROWS)]
        with yard.database.read() as session:
            [run] = session.query(Run).where(Run.target == version_id)
        assert (run.state, run.attempt) == (RunState.COMPLETE, 2)


@pytest.mark.sandbox
def test_chunks_that_other_arguments_led_to_are_predicted_again(settings: Settings) -> None:
    source = MANY.replace("queries)", "queries, factor=1)") + "    time.sleep(0.5)\n    return queries['x'] * factor\n"
    with Yard(settings, with_agent=False) as yard:
        bench = Bench(yard)
        with agent_process(yard.settings) as first:
            deployment_id = bench.deploy(source, bench.table(x=list(range(ROWS))))
            batch = bench.define(deployment_id)
            version_id = yard.call("startBatchPrediction", batchPredictionId=batch)["batchPredictionVersion"]
            wait_until(lambda: kept(settings.home, version_id) != [], 60)
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
        yard.call("setDefaultPredictionArguments", deploymentId=deployment_id, predictionArguments={"factor": 3})
        with agent_process(yard.settings):
            version = bench.ended(version_id)
        assert [line["prediction"] for line in bench.lines(version)] == [3 * x for x in range(ROWS)]


@pytest.mark.sandbox
def test_several_guests_share_the_chunks_and_rows_stay_in_order(bench: Bench) -> None:
    source = (
        MANY.replace("return 10", "return None")
        + "    time.sleep(0.4)\n    return [[model, x] for x in queries['x']]\n"
    )
    source += "\n\ndef initialize(model):\n    return str(uuid.uuid4())\n"
    version = bench.predict(bench.deploy(source, bench.table(x=list(range(ROWS))), cpuSize="medium"))
    found = [line["prediction"] for line in bench.lines(version)]
    assert [x for _, x in found] == list(range(ROWS))
    assert len({guest for guest, _ in found}) == min(2, os.cpu_count() or 1)


@pytest.mark.sandbox
@pytest.mark.parametrize(("start", "rows"), [(0, "1 to 16,384"), (32_768, "32,769 to 49,152")])
def test_a_chunk_that_fails_is_tried_in_a_fresh_guest_and_then_named_by_its_rows(
    bench: Bench, start: int, rows: str
) -> None:
    source = MANY.replace("return 10", "return None") + "    print('called', model, flush=True)\n"
    source += f"    if queries['x'].iloc[0] == {start}:\n        print('broken', model, flush=True)\n"
    source += "        raise OSError('never')\n    return queries['x']\n"
    source += "\n\ndef initialize(model):\n    return str(uuid.uuid4())\n"
    version = bench.predict(bench.deploy(source, bench.table(x=list(range(ROWS)))))
    assert version["status"] == "FAILED"
    assert version["error"] == f"OSError: predict_many failed twice on rows {rows}: never"
    tried = [line.split()[1] for line in logs(bench, version) if line.startswith("broken ")]
    assert len(set(tried)) == len(tried) == 2


@pytest.mark.sandbox
def test_a_guest_whose_share_of_memory_is_short_leaves_all_of_it_to_one(bench: Bench) -> None:
    source = (
        MANY + "    held = bytearray(600 * 2**20)\n    time.sleep(0.1)\n    del held\n    return queries['x'] * model\n"
    )
    table = bench.table(x=list(range(40_000)))
    version = bench.predict(bench.deploy(source, table, cpuSize="medium", memory=1))
    assert version["status"] == "COMPLETE", version["error"]
    assert [line["prediction"] for line in bench.lines(version)] == [10 * x for x in range(40_000)]
    if (os.cpu_count() or 1) > 1:
        assert any("memory was short for several guests" in line for line in logs(bench, version))


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return queries['x'][1:]", "predict_many gave 2 results for 3 queries"),
        ("return queries['x'].to_numpy()[:1]", "predict_many gave 1 results for 3 queries"),
        ("return 7", "gave an object of type int"),
        ("return {'x': 1}", "gave an object of type dict"),
        ("return None", "predict_many gave nothing"),
        ("import os; os._exit(3)", "rows 1 to 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "rows 1 to 3"),
        ("held = bytearray(3 * 2**30); held[::4096] = bytes(len(held[::4096])); return []", "memory"),
        ("raise SystemExit('enough')", "sys.exit"),
        ("queries.explode('nowhere')", "KeyError"),
    ],
)
def test_functions_that_can_not_be_used_fail_their_batch_with_a_reason(bench: Bench, body: str, words: str) -> None:
    version = bench.predict(bench.deploy(f"{MANY}    {body}\n", bench.table(x=[1, 2, 3]), memory=1))
    assert version["status"] == "FAILED"
    assert words in version["error"], version["error"]
    assert version["totalPredictions"] == 0


@pytest.mark.sandbox
def test_a_function_that_never_returns_is_stopped_at_its_limit(home: Path, settings: Settings) -> None:
    limited = Settings.load({}, home=home, cache=settings.cache, port=0, poll_s=0.1, training_timeout_s=6.0)
    with Yard(limited) as yard:
        bench = Bench(yard)
        version = bench.predict(bench.deploy(MANY + "    time.sleep(600)\n", bench.table(x=[1])))
    assert version["status"] == "FAILED"
    assert "took longer than 6 seconds" in version["error"]
    assert "rows 1 to 1" in version["error"]


@given(
    st.integers(0, 10**7), st.integers(1, 20_000), st.integers(0, 10**10), st.booleans()
)  # fmt: skip
def test_chunks_hold_every_row_once_and_in_order(rows: int, columns: int, size: int, many: bool) -> None:
    plan = Plan.of(rows, columns, size, many=many)
    if rows // plan.step > 100_000:
        return  # one row a chunk: true, and slow to list
    chunks = plan.chunks
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert sum(chunk.rows for chunk in chunks) == rows
    assert all(chunk.rows > 0 for chunk in chunks)
    assert all(one.start + one.rows == other.start for one, other in itertools.pairwise(chunks))
    assert plan.step <= 65_536

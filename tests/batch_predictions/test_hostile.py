"""Guests that answer what is not so, reach for what is not theirs, or are killed from outside."""

import os
import signal

import msgspec
import pytest

from modelyard.settings import Settings
from tests.agents import agent_process, guest_processes
from tests.batch_predictions.bench import ECHO, Bench
from tests.waiting import wait_until
from tests.yard import Yard

pytestmark = pytest.mark.sandbox

#: Says of its chunks what the batch prediction's argument has it say.
LIAR = """
def train(*tables):
    return None

def predict_many(model, queries):
    return queries['x']

def initialize(model):
    import os, sys
    table = sys.modules['modelyard_guest.predict_table']
    honest = table.predict_chunks
    def lying(work):
        answer = honest(work)
        exec(table._batches[0].arguments['lie'], {'answer': answer, 'part': answer['done'][0], 'os': os})
        return answer
    table.predict_chunks = lying
"""


@pytest.fixture(scope="module")
def liar(bench: Bench) -> str:
    return bench.deploy(LIAR, bench.table(x=[1, 2, 3]))


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ("part['size'] = 10**12", "bytes from"),
        ("part['size'] = 0", "0 bytes from"),
        ("part['offset'] = -1", "bytes from -1"),
        ("part['offset'] = 10**9", "bytes from 1000000000"),
        ("part['rows'] = 2", "2 rows of 3"),
        ("part['failed'] = 4", "3 rows of 3"),
        ("part['failed'] = -1", "3 rows of 3"),
        ("part['fields'] = 7", "no answer"),
        ("answer['done'] = []", "0 chunks of 1"),
        ("answer['done'] *= 2", "2 chunks of 1"),
        ("answer['path'] = '/etc/passwd'", "names no file of the working directory"),
        ("answer['path'] = '../../../modelyard.db'", "names no file of the working directory"),
        ("os.symlink('/etc/passwd', 'link'); answer['path'] = 'link'", "can't be read"),
        ("os.mkfifo('pipe'); answer['path'] = 'pipe'", "is not a regular file"),
    ],
)
def test_what_a_guest_says_is_checked_before_it_is_believed(bench: Bench, liar: str, lie: str, words: str) -> None:
    version = bench.predict(liar, batchPredictionArgs={"lie": lie})
    assert version["status"] == "FAILED"
    assert words in version["error"], version["error"]
    assert version["totalPredictions"] == 0


def test_a_guest_that_says_what_is_so_is_believed(bench: Bench, liar: str) -> None:
    version = bench.predict(liar, batchPredictionArgs={"lie": "pass"})
    assert [line["prediction"] for line in bench.lines(version)] == [1, 2, 3]


def test_guests_that_are_killed_from_outside_are_replaced_and_no_row_is_lost(settings: Settings) -> None:
    source = "import time\n\n\ndef train(*tables):\n    return 10\n\n\ndef predict_many(model, queries):\n"
    source += "    print('begun', flush=True)\n    time.sleep(2.5)\n    return queries['x'] * model\n"
    with Yard(settings, with_agent=False) as yard, agent_process(yard.settings):
        bench = Bench(yard)
        batch = bench.define(bench.deploy(source, bench.table(x=list(range(20_000)))))
        version_id = yard.call("startBatchPrediction", batchPredictionId=batch)["batchPredictionVersion"]

        def said() -> list[str]:
            found = yard.call("getBatchPredictionVersionLogs", "GET", batchPredictionVersion=version_id)
            return [line for line in found["logs"] if line == "begun"]

        wait_until(said)
        for process in guest_processes(settings.home):
            os.kill(process, signal.SIGKILL)
        version = bench.ended(version_id)
        assert [line["prediction"] for line in bench.lines(version)] == [10 * x for x in range(20_000)]
        assert len(said()) == 3  # two chunks, one of them twice


def test_a_result_that_is_too_long_is_told_with_its_limit(settings: Settings) -> None:
    with Yard(msgspec.structs.replace(settings, scratch_gib=0.002)) as yard:  # 2,147,483 bytes
        bench = Bench(yard)
        source = ECHO.replace("query['x'] * model", "'a' * 1000")
        version = bench.predict(bench.deploy(source, bench.table(x=list(range(4000)))))
    assert version["status"] == "FAILED"
    assert "The result has more than 2,147,483 bytes" in version["error"], version["error"]


def test_more_fields_than_a_table_has_columns_are_refused(bench: Bench) -> None:
    source = ECHO.replace("query['x'] * model", "{f'f{at}': at for at in range(query['x'])}")
    deployment_id = bench.deploy(source, bench.table(x=[16_385]))
    version = bench.predict(deployment_id, outputFormat="CSV")
    assert version["status"] == "FAILED"
    assert "more than 16,384 different fields" in version["error"], version["error"]
    assert bench.predict(deployment_id)["status"] == "COMPLETE"

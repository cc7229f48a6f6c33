"""What runs print is kept within a limit, and the limit is never silent."""

import time

from modelyard.clock import utc_now
from modelyard.database import Database
from modelyard.execution import enqueue, read_logs
from modelyard.execution.logs import LogWriter
from modelyard.ids import OrganizationId, RunId


def a_run(database: Database) -> RunId:
    with database.write() as session:
        return enqueue(session, "say", {}, target="t", organization_id=OrganizationId("0123456789"))


def test_streams_are_kept_apart_in_order_and_with_their_moments(database: Database) -> None:
    run_id = a_run(database)
    writer = LogWriter(database, run_id, 1, 10_000, utc_now)
    for stream, text in (("stdout", "one\n"), ("stderr", "oops\n"), ("stdout", "two\n")):
        writer.write(stream, text)
    writer.flush()
    with database.read() as session:
        logs = read_logs(session, run_id)
    assert (logs.stdout, logs.stderr) == ("one\ntwo\n", "oops\n")
    assert [line.stream for line in logs.lines] == ["stdout", "stderr", "stdout"]
    assert all(line.at.tzinfo for line in logs.lines)


def test_a_second_attempt_shows_its_own_output(database: Database) -> None:
    run_id = a_run(database)
    for attempt in (1, 2):
        writer = LogWriter(database, run_id, attempt, 10_000, utc_now)
        writer.write("stdout", f"attempt {attempt}")
        writer.flush()
    with database.read() as session:
        assert read_logs(session, run_id).stdout == "attempt 2"


def test_too_much_output_keeps_head_and_tail_and_says_what_is_missing(database: Database) -> None:
    run_id = a_run(database)
    writer = LogWriter(database, run_id, 1, 1_000, utc_now)
    for number in range(1_000):
        writer.write("stdout", f"line {number:04d}\n")
        if number % 7 == 0:
            writer.flush()
    writer.flush()
    with database.read() as session:
        kept = read_logs(session, run_id).stdout
    assert kept.startswith("line 0000\n")
    assert kept.endswith("line 0999\n")
    assert len(kept) < 1_700
    gap = next(line for line in kept.splitlines() if "characters left out" in line)
    left_out = int(gap.split()[1].replace(",", ""))
    assert left_out + len(kept) - len(f"\n{gap}\n") == 10_000


def test_a_gigabyte_of_output_neither_fills_memory_nor_takes_minutes(database: Database) -> None:
    run_id = a_run(database)
    writer = LogWriter(database, run_id, 1, 1024**2, utc_now)
    chunk, start = "x" * 1024**2, time.monotonic()
    for _ in range(1024):
        writer.write("stdout", chunk)
    writer.flush()
    assert time.monotonic() - start < 30
    with database.read() as session:
        kept = read_logs(session, run_id).stdout
    assert len(kept) < 2 * 1024**2
    assert "characters left out" in kept


def test_nul_characters_are_kept_visibly(database: Database) -> None:
    run_id = a_run(database)
    writer = LogWriter(database, run_id, 1, 1_000, utc_now)
    writer.write("stdout", "a\x00b")
    writer.flush()
    with database.read() as session:
        assert read_logs(session, run_id).stdout == "a\u2400b"

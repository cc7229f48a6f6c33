"""What runs print: kept in the database with time stamps, readable while the run goes on, bounded and honest about it.

A run's log has a limit (`settings.log_limit`). The first half of it is kept for good; of what comes after, the newest
half is kept, and the gap between the two says how many characters were left out.
"""

import threading
from collections import deque
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from modelyard.clock import Clock
from modelyard.database import Database
from modelyard.execution.records import RunLog
from modelyard.ids import RunId

#: Seconds between two writes of what has been printed.
FLUSH_S = 0.4
#: The stream under which the gap between the kept head and the kept tail is noted.
GAP = "gap"


class LogLine(NamedTuple):
    """A piece of text as it was read from a run's output."""

    at: datetime
    stream: str
    text: str


class RunLogs(NamedTuple):
    """All that is kept of what a run printed in its newest attempt."""

    stdout: str
    stderr: str
    lines: list[LogLine]


def read_logs(session: Session, run_id: RunId) -> RunLogs:
    """What the newest attempt of the run has printed so far."""
    newest = select(func.max(RunLog.attempt)).where(RunLog.run_id == run_id).scalar_subquery()
    rows = session.scalars(
        select(RunLog).where(RunLog.run_id == run_id, RunLog.attempt == newest).order_by(RunLog.seq)
    ).all()
    lines = [LogLine(row.at, row.stream, row.text) for row in rows]
    texts = {
        stream: "".join(line.text for line in lines if line.stream in (stream, GAP)) for stream in ("stdout", "stderr")
    }
    has_gap = any(line.stream == GAP for line in lines)
    if has_gap and not any(line.stream == "stderr" for line in lines):
        texts["stderr"] = ""
    return RunLogs(texts["stdout"], texts["stderr"], lines)


def lines_after(session: Session, run_id: RunId, seq: int) -> list[tuple[int, LogLine]]:
    """What the newest attempt of the run printed after that place, each piece with its own."""
    newest = select(func.max(RunLog.attempt)).where(RunLog.run_id == run_id).scalar_subquery()
    mine = (RunLog.run_id == run_id, RunLog.attempt == newest, RunLog.seq > seq)
    rows = session.scalars(select(RunLog).where(*mine).order_by(RunLog.seq))
    return [(row.seq, LogLine(row.at, row.stream, row.text)) for row in rows]


class LogWriter:
    """Collects what one attempt prints and writes it in pieces. Thread-safe."""

    def __init__(self, database: Database, run_id: RunId, attempt: int, limit: int, clock: Clock) -> None:
        self._database, self._run_id, self._attempt, self._clock = database, run_id, attempt, clock
        self._half = max(limit // 2, 1)
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._pending: deque[LogLine] = deque()
        self._pending_size = 0
        self._head_size = 0
        self._tail: deque[tuple[int, int]] = deque()
        self._tail_size = 0
        self._left_out = 0
        self._seq = 0
        self._gap_seq: int | None = None

    def write(self, stream: str, text: str) -> None:
        """Keeps `text` for the next flush; what can't be kept within the limit is counted."""
        if not text:
            return
        text = text.replace("\x00", "\N{SYMBOL FOR NULL}")
        with self._lock:
            for start in range(0, len(text), self._half):
                self._add(LogLine(self._clock(), stream, text[start : start + self._half]))
            head_overflows = self._pending_size > 2 * self._half and self._head_size < self._half
        if head_overflows:
            self.flush()

    def _add(self, line: LogLine) -> None:
        last = self._pending[-1] if self._pending else None
        if last and last.stream == line.stream and len(last.text) + len(line.text) < 65_536:
            self._pending[-1] = LogLine(last.at, last.stream, last.text + line.text)
        else:
            self._pending.append(line)
        self._pending_size += len(line.text)
        # Once the head is full, what the tail would lose anyway is dropped here, before it costs a write.
        while self._head_size >= self._half and self._pending_size > 2 * self._half and len(self._pending) > 1:
            dropped = self._pending.popleft()
            self._pending_size -= len(dropped.text)
            self._left_out += len(dropped.text)

    def flush(self) -> None:
        """Writes what has been collected; called by the agent's flusher and at the attempt's end."""
        with self._flushing:
            with self._lock:
                lines, self._pending = list(self._pending), deque()
                self._pending_size = 0
            if lines:
                with self._database.write() as session:
                    self._store(session, lines)

    def _store(self, session: Session, lines: list[LogLine]) -> None:
        if self._seq == 0:
            newest = select(func.max(RunLog.seq)).where(RunLog.run_id == self._run_id)
            self._seq = (session.scalar(newest) or 0) + 1
        for line in lines:
            self._append(session, line)
        self._trim(session)

    def _append(self, session: Session, line: LogLine) -> None:
        room = self._half - self._head_size
        if 0 < room < len(line.text):
            self._append(session, line._replace(text=line.text[:room]))
            self._append(session, line._replace(text=line.text[room:]))
            return
        if room <= 0 and self._gap_seq is None:
            self._gap_seq, self._seq = self._seq, self._seq + 1
        if room > 0:
            self._head_size += len(line.text)
        else:
            self._tail.append((self._seq, len(line.text)))
            self._tail_size += len(line.text)
        session.add(self._row(self._seq, line))
        self._seq += 1

    def _trim(self, session: Session) -> None:
        dropped: list[int] = []
        while self._tail_size > self._half and len(self._tail) > 1:
            seq, size = self._tail.popleft()
            self._tail_size -= size
            self._left_out += size
            dropped.append(seq)
        if dropped:
            session.flush()
            session.execute(delete(RunLog).where(RunLog.run_id == self._run_id, RunLog.seq.in_(dropped)))
        if self._left_out and self._gap_seq is not None:
            note = (
                f"\n... {self._left_out:,} characters left out here: a run keeps {2 * self._half:,} (log_limit) ...\n"
            )
            session.merge(self._row(self._gap_seq, LogLine(self._clock(), GAP, note)))

    def _row(self, seq: int, line: LogLine) -> RunLog:
        return RunLog(
            run_id=self._run_id, seq=seq, attempt=self._attempt, stream=line.stream, at=line.at, text=line.text
        )

"""Runs: the durable table of work, the claims on it, and the agent's loop. Knows no word of the trade.

A run is PENDING until an agent claims it, RUNNING while that agent's lease lasts, and ends COMPLETE, FAILED or
CANCELLED. `records.py` is the table, `queue.py` enqueues and cancels in the caller's own transaction, `claims.py` moves
runs between agents, `context.py` is what a run's function gets, `agent.py` is the loop, `logs.py` keeps what it prints.
A slice says what its runs do in a `runs.py` of plain functions; `app.py` binds them to their names.
"""

from modelyard.execution.context import ClaimLost, Permanent, Retry, RunContext, RunKind
from modelyard.execution.logs import RunLogs, read_logs
from modelyard.execution.queue import After, Demand, cancel, enqueue
from modelyard.execution.records import Run, RunState

__all__ = [
    "After",
    "ClaimLost",
    "Demand",
    "Permanent",
    "Retry",
    "Run",
    "RunContext",
    "RunKind",
    "RunLogs",
    "RunState",
    "cancel",
    "enqueue",
    "read_logs",
]

"""The agent's loop: claims runs that fit, works on each in a thread of its own, keeps the leases alive, reaps the lost.

`modelyard serve` starts one, `modelyard agent` more. Three threads besides the runs': the loop itself, the heartbeat
(leases and cancellations) and the flusher of logs. Killing the process at any moment loses nothing: the table knows.
"""

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from modelyard.clock import Clock, utc_now
from modelyard.container import Container
from modelyard.database import Database
from modelyard.execution import claims
from modelyard.execution.companion import Companion
from modelyard.execution.context import Claim, ClaimLost, Permanent, Retry, RunContext, RunKind, Stopped
from modelyard.execution.events import RunEvents
from modelyard.execution.liveness import LifeLock, is_dead, machine_name
from modelyard.execution.logs import FLUSH_S
from modelyard.execution.queue import Demand
from modelyard.execution.records import AgentRecord, Run, RunState
from modelyard.execution.wake import Bell
from modelyard.gpus import Gpu, find_gpus
from modelyard.ids import AgentId, RunId, new_id
from modelyard.settings import Settings

log = logging.getLogger(__name__)

#: Longest pause between attempts that the platform itself made fail.
MAX_BACKOFF_S = 60.0
#: Seconds between two times that an agent says that it lives; who looks takes one for gone after three of them.
SIGN_S = 3.0


class Agent:
    """One agent. `start` returns at once; `stop` ends the runs in good order and gives them back."""

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, RunKind],
        parts: Container,
        settings: Settings,
        clock: Clock = utc_now,
        companions: Sequence[Companion] = (),
        events: RunEvents | None = None,
    ) -> None:
        self._companions = companions
        self.agent_id = AgentId(new_id())
        self._database, self._kinds, self._parts, self._settings, self._clock = database, kinds, parts, settings, clock
        self.events = events or RunEvents()
        self.capacity, self._gpus = capacity_of(settings), find_gpus()
        self._running: dict[RunId, tuple[RunContext, threading.Thread]] = {}
        #: Attempts that the database took along, to be repeated once it answers.
        self._interrupted: list[RunContext] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lives = settings.home / "run" / "agents"
        self._life: LifeLock | None = None
        self._bell: Bell | None = None

    def start(self) -> None:
        """Registers this agent and begins to claim."""
        self._life = LifeLock(self._lives, self.agent_id)
        self._bell = Bell(str(self._database.engine.url), self.agent_id)
        self._register()
        for name, target in (("claims", self._loop), ("heartbeat", self._heartbeat), ("logs", self._flush_logs)):
            thread = threading.Thread(target=target, name=f"agent-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        for companion in self._companions:
            companion.start()

    def stop(self, timeout_s: float = 20.0) -> None:
        """Asks every run to end and gives them back; what hasn't ended after `timeout_s` is left to its lease.

        May be called again.
        """
        if not self._stopping.is_set():
            for companion in self._companions:
                companion.stop()
        self._stopping.set()
        if self._bell:
            self._bell.ring()
        for context, _ in self._contexts():
            context.stopping.set()
            context.cancelled.set()
        deadline = time.monotonic() + timeout_s
        for thread in [*self._threads, *(thread for _, thread in self._contexts())]:
            thread.join(max(deadline - time.monotonic(), 0.1))
        bell, life, self._bell, self._life = self._bell, self._life, None, None
        if bell:
            bell.close()
        if life:
            life.release()

    @property
    def running(self) -> list[RunId]:
        """The runs that this agent works on now."""
        with self._lock:
            return list(self._running)

    def _contexts(self) -> list[tuple[RunContext, threading.Thread]]:
        with self._lock:
            return list(self._running.values())

    def _register(self) -> None:
        now = self._clock()
        with self._database.write() as session:
            session.merge(
                AgentRecord(
                    agent_id=self.agent_id,
                    machine=machine_name(),
                    pid=os.getpid(),
                    cores=self.capacity.cores,
                    memory_gib=self.capacity.memory_gib,
                    gpus=self.capacity.gpus,
                    started_at=now,
                    seen_at=now,
                )
            )

    def _loop(self) -> None:
        pause = self._settings.poll_s
        while not self._stopping.is_set():
            try:
                self._claim_some()
                pause = self._settings.poll_s
            except SQLAlchemyError as error:
                log.warning("the database does not answer, trying again: %s", error)
                pause = min(pause * 2, 5.0)
            if self._bell:
                self._bell.wait(pause)

    def _claim_some(self) -> None:
        now = self._clock()
        with self._database.read() as session:
            waits = select(Run.run_id).where(Run.state == RunState.PENDING, Run.not_before <= now).limit(1)
            if session.scalar(waits) is None:
                return
        with self._database.write() as session:
            room = claims.Room(self._free(), self._free(lasting=True))
            claimed = claims.claim_runs(session, self.agent_id, self._kinds, room, now, self._settings.lease_s)
        for claim in claimed:
            self._begin(claim)

    def _free(self, *, lasting: bool = False) -> Demand:
        """What is free now, or, with `lasting`, what is not taken by runs that go on until they are cancelled."""
        cores, memory_gib, gpus = self.capacity
        for context, _ in self._contexts():
            claim = context.claim
            if not lasting or self._kinds[claim.kind].long_lived:
                cores, memory_gib, gpus = cores - claim.cores, memory_gib - claim.memory_gib, gpus - claim.gpus
        return Demand(cores, memory_gib, gpus)

    def _free_gpus(self) -> tuple[Gpu, ...]:
        taken = {gpu for context, _ in self._contexts() for gpu in context.gpus}
        return tuple(gpu for gpu in self._gpus if gpu not in taken)

    def _begin(self, claim: Claim) -> None:
        gpus = self._free_gpus()[: claim.gpus]
        context = RunContext(claim, self._database, self._parts, self._settings, self._clock, gpus)
        name = f"{claim.kind} {claim.target}"
        thread = threading.Thread(target=self._attempt, args=(context,), name=name, daemon=True)
        with self._lock:
            self._running[claim.run_id] = (context, thread)
        thread.start()

    def _attempt(self, context: RunContext) -> None:
        claim = context.claim
        try:
            self._execute(context)
        except SQLAlchemyError as error:
            log.error("run %s (%s %s): the database failed: %s", claim.run_id, claim.kind, claim.target, error)  # noqa: TRY400 - the database's words say it all
            with self._lock:
                self._interrupted.append(context)
        finally:
            with self._lock:
                self._running.pop(claim.run_id, None)
            if self._bell:
                self._bell.ring()

    def _execute(self, context: RunContext) -> None:
        claim, kind = context.claim, self._kinds[context.claim.kind]
        if claim.cancel_requested:
            self._end(claim, kind, RunState.CANCELLED, "cancelled before it began")
            return
        try:
            kind.execute(context)
            context.logs.flush()
            self._complete(context)
        except Stopped:
            self._give_back(claim, "the agent stopped", 0.0, counted=False)
        except ClaimLost:
            self._after_loss(context, kind)
        except Permanent as error:
            self._end(claim, kind, RunState.FAILED, str(error))
        except Retry as error:
            self._retry(context, kind, error)
        except Exception as error:  # the run's door: whatever a run raises must not end the agent
            log.exception("run %s (%s %s) failed", claim.run_id, claim.kind, claim.target)
            backoff = min(2.0 ** (claim.attempt - 1), MAX_BACKOFF_S)
            self._retry(context, kind, Retry(f"the platform failed: {type(error).__name__}: {error}", backoff))
        finally:
            context.logs.flush()

    def _complete(self, context: RunContext) -> None:
        try:
            with context.transaction() as session:
                context.complete(session)
        except ClaimLost:
            return  # ended inside the domain's own transaction, or taken over

    def _after_loss(self, context: RunContext, kind: RunKind) -> None:
        if context.stopping.is_set():
            self._give_back(context.claim, "the agent stopped", 0.0, counted=False)
        else:
            # Only a cancelled run is still ours to end; one that was taken over is left alone by the fence.
            self._end(context.claim, kind, RunState.CANCELLED, "cancelled")

    def _retry(self, context: RunContext, kind: RunKind, why: Retry) -> None:
        claim = context.claim
        with self._database.read() as session:
            allowed = session.scalar(select(Run.max_attempts).where(Run.run_id == claim.run_id))
        allowed = allowed or self._settings.run_attempts
        if why.counted and not kind.long_lived and claim.attempt >= allowed:
            self._end(claim, kind, RunState.FAILED, str(why))
        else:
            self._give_back(claim, str(why), why.after_s, counted=why.counted)

    def _end(self, claim: Claim, kind: RunKind, state: RunState, reason: str) -> None:
        with self._database.write() as session:
            claims.end(session, claim, kind, state, reason, self._clock(), self.events)

    def _give_back(self, claim: Claim, reason: str, after_s: float, *, counted: bool) -> None:
        not_before = self._clock() + timedelta(seconds=after_s)
        with self._database.write() as session:
            claims.give_back(session, claim, reason, not_before, counted=counted)

    def _heartbeat(self) -> None:
        pause = min(self._settings.lease_s / 5, 1.0)
        next_reap = next_sign = 0.0
        while not self._stopping.is_set() or self._contexts():
            try:
                self._renew()
                self._repeat_interrupted()
                if time.monotonic() >= next_sign:
                    self._show_itself()
                    next_sign = time.monotonic() + SIGN_S
                if time.monotonic() >= next_reap and not self._stopping.is_set():
                    self._reap()
                    next_reap = time.monotonic() + pause
            except SQLAlchemyError as error:
                log.warning("the database does not answer, trying again: %s", error)
            if self._stopping.is_set():
                time.sleep(0.05)  # the last runs are ending; their leases are kept until they have
            else:
                self._stopping.wait(pause)

    def _repeat_interrupted(self) -> None:
        """Puts back on the table what the database took along; what had ended by then is left as it is."""
        while self._interrupted:
            context = self._interrupted[0]
            self._retry(context, self._kinds[context.claim.kind], Retry("the database failed in the middle of it"))
            with self._lock:
                self._interrupted.remove(context)

    def _show_itself(self) -> None:
        """Says that this agent lives, for whoever looks at agents. No lease depends on it."""
        with self._database.write() as session:
            mine = update(AgentRecord).where(AgentRecord.agent_id == self.agent_id)
            session.execute(mine.values(seen_at=self._clock()))

    def _renew(self) -> None:
        contexts = {context.run_id: context for context, _ in self._contexts()}
        if not contexts:
            return
        held = [context.claim for context in contexts.values()]
        with self._database.write() as session:
            kept = claims.renew(session, held, self._clock(), self._settings.lease_s)
        for run_id, context in contexts.items():
            if kept.get(run_id, True):  # no longer ours, or its end was asked for
                context.cancelled.set()

    def _reap(self) -> None:
        now = self._clock()
        with self._database.read() as session:
            running = select(Run.claimed_by).where(Run.state == RunState.RUNNING)
            others = set(session.scalars(running.where(Run.claimed_by != self.agent_id).distinct()))
            # Its own, too: a claim whose answer was lost is on the table, and nobody works on it.
            is_over = session.scalar(running.where(Run.lease_until < now).limit(1)) is not None
            if not others and not is_over:
                return
            here = select(AgentRecord.agent_id).where(
                AgentRecord.agent_id.in_(others), AgentRecord.machine == machine_name()
            )
            dead = {agent for agent in session.scalars(here) if is_dead(self._lives, agent)}
        with self._database.write() as session:
            reaped = claims.reap(session, self._kinds, dead, now, self._settings.run_attempts, self.events)
        for run_id, state in reaped:
            log.warning("run %s was lost by its agent, now %s", run_id, state)
        if reaped and self._bell:
            self._bell.ring()

    def _flush_logs(self) -> None:
        while not self._stopping.wait(FLUSH_S):
            for context, _ in self._contexts():
                try:
                    context.logs.flush()
                except SQLAlchemyError as error:
                    log.warning("the log of run %s could not be written: %s", context.run_id, error)


def capacity_of(settings: Settings) -> Demand:
    """What this machine, or the settings, allow an agent to hand out."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return Demand(
        settings.agent_cores or float(os.cpu_count() or 1), settings.agent_memory_gib or memory, len(find_gpus())
    )

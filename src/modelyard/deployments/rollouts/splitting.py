"""Which calls of a deployment go to its canary, which are mirrored to its shadow, and what came back.

A part of the deployment's `Line` while it has either; lives in the gateway's event loop. The canary and the shadow have
lines of their own, which have only replicas that are ready: where the canary has none, or is full, the version that
answers takes its calls. A copy is made when nobody waits for it, and what becomes of it concerns no caller.
"""

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import update
from sqlalchemy.orm import Session

from modelyard.deployments.calls.frames import Answer, Status
from modelyard.deployments.records import Role, SideVersion
from modelyard.errors import ApiError
from modelyard.ids import DeploymentId, ServingId

if TYPE_CHECKING:
    from modelyard.deployments.calls.line import Line
    from modelyard.deployments.calls.routes import SideRoute
    from modelyard.deployments.replicas.reports import Reporter

#: Copies that may be under way at once; more are dropped.
MIRRORED = 64
#: Seconds between two times that counts are written down.
WRITE_S = 1.0
#: Answers up to this size are compared by what they mean, larger ones byte by byte.
COMPARED = 256 * 1024
#: By how much numbers may differ and still be the same, as a part of the larger one.
TOLERANCE = 1e-9


class SideLine:
    """One version beside the one that answers, and its counts since they were last written down."""

    def __init__(self, side: "SideRoute", line: "Line") -> None:
        self.side, self.line = side, line
        self._counts: dict[str, float] = {}

    def add(self, **counts: float) -> None:
        """Counts."""
        for name, count in counts.items():
            self._counts[name] = self._counts.get(name, 0) + count

    def take(self) -> Callable[[Session], None] | None:
        """What writes down the counts, which begin anew; None where there are none."""
        counts, self._counts = self._counts, {}
        return _writing(self.side.deployment_id, self.side.role, self.side.serving_id, counts) if counts else None


class Split:
    """The canary and the shadow of one deployment."""

    def __init__(self, main: "Line", make: "Callable[[SideRoute], Line]") -> None:
        self._main, self._make = main, make
        self._sides: dict[Role, SideLine] = {}
        self._written_at = time.monotonic()

    def apply(self, sides: "tuple[SideRoute, ...]") -> None:
        """Takes over what the routing table says."""
        wanted = {side.role: side for side in sides}
        for role, there in list(self._sides.items()):
            side = wanted.get(role)
            if side is None or side.serving_id != there.side.serving_id:
                del self._sides[role]
                there.line.retire()
        for role, side in wanted.items():
            if role in self._sides:
                self._sides[role].side = side
                self._sides[role].line.apply(self._main.route_of(side))
            else:
                self._sides[role] = SideLine(side, self._make(side))

    def send(self, kind: int, body: bytes) -> "asyncio.Future[Answer]":
        """As `Line.send`, to whichever version's turn it is."""
        canary, shadow = self._sides.get(Role.CANARY), self._sides.get(Role.SHADOW)
        began = time.monotonic()
        if canary is not None and canary.line.is_ready and _drawn(canary.side.percent):
            self._main.admit()
            future = canary.line.pass_on(kind, body)
            future.add_done_callback(partial(_count, canary, began, ""))
            return future
        future = self._main.send(kind, body)
        for side in self._sides.values():
            future.add_done_callback(partial(_count, side, began, "main_"))
        if shadow is not None and shadow.line.is_ready and _drawn(shadow.side.percent):
            self._mirror(shadow, kind, body, future)
        return future

    def _mirror(self, shadow: SideLine, kind: int, body: bytes, answering: "asyncio.Future[Answer]") -> None:
        if sum(shadow.line.load) >= MIRRORED:
            shadow.add(dropped=1)
            return
        began = time.monotonic()
        try:
            copy = shadow.line.pass_on(kind, body)
        except ApiError:
            shadow.add(dropped=1)
            return
        copy.add_done_callback(partial(_count, shadow, began, ""))

        def compare(_: object) -> None:
            if answering.done() and copy.done() and not answering.cancelled() and not copy.cancelled():
                ours, theirs = _answer_of(answering), _answer_of(copy)
                if ours is not None and theirs is not None:
                    shadow.add(**{"same" if is_same(ours, theirs) else "different": 1})

        answering.add_done_callback(compare)
        copy.add_done_callback(compare)

    def report(self, reporter: "Reporter") -> None:
        """Has the servings told how much there is to do."""
        for side in self._sides.values():
            side.line.report(reporter)

    def errands(self) -> list[Callable[[Session], None]]:
        """What writes down the counts, once a second."""
        if time.monotonic() - self._written_at < WRITE_S:
            return []
        self._written_at = time.monotonic()
        return [errand for side in self._sides.values() if (errand := side.take()) is not None]

    def retire(self) -> None:
        """Nothing new; connections close after their last answers."""
        for side in self._sides.values():
            side.line.retire()


def is_same(ours: Answer, theirs: Answer) -> bool:
    """Whether two answers mean the same: numbers may differ in their last digits."""
    if (ours.status == Status.OK) is not (theirs.status == Status.OK):
        return False
    if ours.body == theirs.body:
        return True
    if ours.status != Status.OK or max(len(ours.body), len(theirs.body)) > COMPARED:
        return ours.status == theirs.status and ours.status != Status.OK
    try:
        return _alike(msgspec.json.decode(ours.body), msgspec.json.decode(theirs.body))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False


def _alike(one: object, other: object) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= TOLERANCE * max(abs(one), abs(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return one == other


def _drawn(percent: float) -> bool:
    return random.random() * 100 < percent


def _count(side: SideLine, began: float, whose: str, done: "asyncio.Future[Answer]") -> None:
    if done.cancelled():
        return
    answer = _answer_of(done)
    failed = answer is None or answer.status != Status.OK
    took_ms = (time.monotonic() - began) * 1000
    side.add(**{f"{whose}calls": 1, f"{whose}failures": int(failed), f"{whose}took_ms": took_ms})


def _answer_of(done: "asyncio.Future[Answer]") -> Answer | None:
    return done.result() if done.exception() is None else None


def _writing(
    deployment_id: DeploymentId, role: Role, serving_id: ServingId, counts: dict[str, float]
) -> Callable[[Session], None]:
    def write(session: Session) -> None:
        mine = (
            SideVersion.deployment_id == deployment_id,
            SideVersion.role == role,
            SideVersion.serving_id == serving_id,
        )
        values = {name: getattr(SideVersion, name) + count for name, count in counts.items()}
        session.execute(update(SideVersion).where(*mine).values(**values).execution_options(synchronize_session=False))

    return write

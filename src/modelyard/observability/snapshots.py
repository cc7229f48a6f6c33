"""What one gateway has in its memory, in a form in which it can be told to another one. Taken for `/metrics`."""

import os
import resource
from pathlib import Path

import msgspec

from modelyard.deployments.calls.line import Line
from modelyard.ids import DeploymentId, OrganizationId
from modelyard.observability.logbook import Logbook


class LineSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment's calls in one gateway."""

    deployment_id: DeploymentId
    organization_id: OrganizationId
    #: HTTP status -> calls.
    statuses: dict[int, int]
    #: Calls in each of the steps of `tally.BOUNDS`.
    latencies: list[int]
    seconds: float
    #: Which limit -> calls that it turned away.
    rejected: dict[str, int]
    #: Calls that replicas have, and calls that wait until there is one.
    in_replicas: int
    waiting: int
    #: Calls that went to a replica together -> how often; none where they never do.
    batches: dict[int, int] = {}


class GatewaySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway process."""

    gateway_id: str
    #: Host and process id: containers that share a home number their processes alike.
    worker: str
    lines: list[LineSnapshot]
    #: HTTP status -> calls that named no deployment that their caller may ask.
    strays: dict[int, int]
    logs_written: int
    logs_dropped: int
    logs_waiting: int
    resident_bytes: int
    cpu_s: float
    open_files: int


def take(logbook: Logbook) -> GatewaySnapshot:
    """This process, now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return GatewaySnapshot(
        gateway_id=logbook.gateway_id,
        worker=f"{os.uname().nodename}:{os.getpid()}",
        lines=[_take_line(line) for line in dict(logbook.lines).values()],
        strays=logbook.strays.copy(),
        logs_written=logbook.written,
        logs_dropped=logbook.dropped,
        logs_waiting=logbook.waiting,
        resident_bytes=_resident_bytes(),
        cpu_s=usage.ru_utime + usage.ru_stime,
        open_files=sum(1 for _ in Path("/proc/self/fd").iterdir()),
    )


def _take_line(line: Line) -> LineSnapshot:
    tally, (in_replicas, waiting) = line.tally, line.load
    return LineSnapshot(
        deployment_id=line.route.deployment_id,
        organization_id=line.route.organization_id,
        statuses=tally.statuses.copy(),
        latencies=tally.latencies.copy(),
        seconds=tally.seconds,
        rejected=tally.rejected.copy(),
        in_replicas=in_replicas,
        waiting=waiting,
        batches=line.batcher.sizes.copy() if line.batcher is not None else {},
    )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

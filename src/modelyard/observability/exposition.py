"""The metrics in Prometheus' text format: made when somebody asks, from counts that were kept anyway.

`metrics` in the api room serves it. Every gateway of the home is in each scrape, told apart by the label `worker`, so
whichever of them answers shows all; `grafana.json` beside this file is a dashboard of what is here.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from modelyard.accounts.records import Organization
from modelyard.clock import Clock
from modelyard.database import Database
from modelyard.deployments.calls.tally import BOUNDS
from modelyard.ids import OrganizationId
from modelyard.observability.census import Census, take_census
from modelyard.observability.siblings import Siblings
from modelyard.observability.snapshots import GatewaySnapshot, LineSnapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Which steps of a latency's histogram are shown: three to a decade.
SHOWN = tuple(at for at, bound in enumerate(BOUNDS) if f"{bound:e}".startswith(("1.0000", "2.5000", "5.0000")))
#: Upper bounds of the sizes of batches.
BATCHES = tuple(2**power for power in range(13))


class Seen(NamedTuple):
    """What one scrape shows."""

    gateways: list[GatewaySnapshot]
    #: None: the database does not answer.
    census: Census | None
    #: Whose deployments alone are shown; None: everybody's, and the platform's own machinery.
    organization_id: OrganizationId | None

    def lines(self) -> Iterator[tuple[GatewaySnapshot, LineSnapshot]]:
        """The deployments that are shown, in each gateway."""
        for gateway in self.gateways:
            for line in gateway.lines:
                if self.organization_id in (None, line.organization_id):
                    yield gateway, line


class Exposition:
    """What `/metrics` answers with. Thread-safe."""

    def __init__(self, database: Database, clock: Clock, siblings: Siblings) -> None:
        self._database, self._clock, self._siblings = database, clock, siblings

    def text(self, organization_id: OrganizationId | None) -> bytes:
        """One organisation's deployments and runs; None, or where it is the only one: all, with the machinery."""
        try:
            with self._database.read() as session:
                if organization_id is not None and session.scalar(select(func.count()).select_from(Organization)) == 1:
                    organization_id = None
                census = take_census(session, self._clock(), organization_id)
        except SQLAlchemyError:
            census = None
        registry = CollectorRegistry()
        registry.register(_Collector(Seen(self._siblings.snapshots(), census, organization_id)))
        return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterable[Metric]:
        seen = self._seen
        yield _gauge("modelyard_database_up", "1 if the database answers.", [((), float(seen.census is not None))])
        yield from _calls(seen)
        if seen.census is not None:
            yield from _deployments(seen.census)
        if seen.organization_id is None:
            yield from _gateways(seen)
            if seen.census is not None:
                yield from _machinery(seen.census)


Samples = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, words: str, samples: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily(name, words, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _counter(name: str, words: str, samples: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily(name, words, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _calls(seen: Seen) -> Iterator[Metric]:
    lines = list(seen.lines())
    whose = ("deployment_id", "worker")
    yield _counter(
        "modelyard_predictions",
        "Calls of a deployment (predictions and look-ups) by the HTTP status of their answer; 499: the caller left.",
        (
            ((line.deployment_id, gateway.worker, str(status)), count)
            for gateway, line in lines
            for status, count in line.statuses.items()
        ),
        (*whose, "status"),
    )
    yield _counter(
        "modelyard_predictions_rejected",
        "Calls that were turned away with 429, by the limit that did it: deployment, token or queue.",
        (
            ((line.deployment_id, gateway.worker, limit), count)
            for gateway, line in lines
            for limit, count in line.rejected.items()
        ),
        (*whose, "limit"),
    )
    times = HistogramMetricFamily(
        "modelyard_prediction_seconds",
        "Time from a call's first byte to its answer, but for refused ones.",
        labels=whose,
    )
    for gateway, line in lines:
        sums = list(itertools.accumulate(line.latencies))
        buckets = [(f"{BOUNDS[at]:g}", float(sums[at])) for at in SHOWN]
        times.add_metric((line.deployment_id, gateway.worker), [*buckets, ("+Inf", sums[-1])], line.seconds)
    yield times
    yield _batches(lines)
    yield _gauge(
        "modelyard_predictions_in_replicas",
        "Calls that replicas have now: worked on, or waiting there for their turn.",
        (((line.deployment_id, gateway.worker), line.in_replicas) for gateway, line in lines),
        whose,
    )
    yield _gauge(
        "modelyard_predictions_waiting",
        "Calls that wait until there is a replica.",
        (((line.deployment_id, gateway.worker), line.waiting) for gateway, line in lines),
        whose,
    )


def _batches(lines: list[tuple[GatewaySnapshot, LineSnapshot]]) -> Metric:
    sizes = HistogramMetricFamily(
        "modelyard_prediction_batch_size",
        "Calls that went to a replica together, of deployments where they may.",
        labels=("deployment_id", "worker"),
    )
    for gateway, line in lines:
        if line.batches:
            sums = [
                (str(bound), float(sum(count for size, count in line.batches.items() if size <= bound)))
                for bound in BATCHES
            ]
            calls = sum(size * count for size, count in line.batches.items())
            everything = float(sum(line.batches.values()))
            sizes.add_metric((line.deployment_id, gateway.worker), [*sums, ("+Inf", everything)], calls)
    return sizes


def _deployments(census: Census) -> Iterator[Metric]:
    yield _gauge(
        "modelyard_deployment_info",
        "1 for each deployment; to join its name, status and version to other metrics.",
        (
            ((each.deployment_id, each.name, each.project_id, each.status, each.version), 1)
            for each in census.deployments
        ),
        ("deployment_id", "name", "project_id", "status", "version"),
    )
    yield _gauge(
        "modelyard_replicas",
        "Replicas of a deployment by their state.",
        census.replicas.items(),
        ("deployment_id", "state"),
    )
    yield _gauge(
        "modelyard_runs", "Runs by kind and state, as the database has them.", census.runs.items(), ("kind", "state")
    )


def _gateways(seen: Seen) -> Iterator[Metric]:
    gateways = [((gateway.worker,), gateway) for gateway in seen.gateways]
    yield _counter(
        "modelyard_predictions_stray",
        "Calls that named no deployment that their caller may ask, by the HTTP status of their answer.",
        (
            ((gateway.worker, str(status)), count)
            for gateway in seen.gateways
            for status, count in gateway.strays.items()
        ),
        ("worker", "status"),
    )
    for name, words, field in (
        ("written", "Sampled calls that were written to the prediction log.", "logs_written"),
        ("dropped", "Sampled calls that were not, as too many waited.", "logs_dropped"),
    ):
        samples = [(worker, float(getattr(gateway, field))) for worker, gateway in gateways]
        yield _counter(f"modelyard_prediction_logs_{name}", words, samples, ("worker",))
    spent = [(worker, each.cpu_s) for worker, each in gateways]
    yield _counter("modelyard_gateway_cpu_seconds", "Processor time of a gateway.", spent, ("worker",))
    for name, words, field in (
        ("modelyard_prediction_logs_waiting", "Sampled calls that wait to be written.", "logs_waiting"),
        ("modelyard_gateway_resident_bytes", "Memory of a gateway.", "resident_bytes"),
        ("modelyard_gateway_open_files", "Open files and connections of a gateway.", "open_files"),
    ):
        yield _gauge(name, words, [(worker, float(getattr(each, field))) for worker, each in gateways], ("worker",))


def _machinery(census: Census) -> Iterator[Metric]:
    for name, words, number in (
        ("modelyard_agents", "Agents that have shown themselves lately, on all machines.", census.agents),
        ("modelyard_agent_cores", "Cores that those may hand to runs.", census.agent_cores),
        ("modelyard_agent_memory_bytes", "Memory that those may hand to runs.", census.agent_memory_gib * 1024**3),
        ("modelyard_guests", "Guests of the agents of this machine: runs, replicas, warm ones.", census.guests),
        ("modelyard_guest_resident_bytes", "Memory that those guests hold.", census.guest_bytes),
        ("modelyard_agent_resident_bytes", "Memory that the agents of this machine hold.", census.agent_bytes),
    ):
        yield _gauge(name, words, [((), float(number))])

"""What callers see of the versions beside the one that answers."""

import msgspec

from modelyard.clock import iso
from modelyard.deployments.records import Deployment, Role, SideVersion
from modelyard.ids import DeploymentId


class Counts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Answers of one version since the rollout began, as gateways counted them; up to a second late."""

    calls: int
    #: Answers that were errors.
    failures: int
    #: Milliseconds from the gateway to the answer, on average; null before the first.
    mean_ms: float | None


class Side(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A version beside the one that answers."""

    version: str
    #: STARTING, READY, FAILED, or RESTING: without replicas, and brought up when it is wanted.
    state: str
    error: str | None
    #: The part of the calls that it answers, or gets copies of.
    percent: float
    since: str | None
    #: Until when the replicas of a former version are kept up.
    until: str | None
    answered: Counts
    #: The same of the version that answers, meanwhile.
    beside: Counts
    #: Answers of a shadow that were the caller's answer, and that were not.
    same: int
    different: int
    #: Copies that a shadow did not get, since it had too many already.
    dropped: int


class Rollout(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Every version of a deployment that has a part in it."""

    deployment_id: DeploymentId
    #: The version that answers, and the one that is about to.
    version: str | None
    pending_version: str | None
    #: Whether it has no replicas, and the next call brings them up.
    is_asleep: bool
    canary: Side | None
    shadow: Side | None
    #: Where `rollbackDeployment` leads.
    former: Side | None


def rollout(deployment: Deployment, sides: dict[Role, SideVersion]) -> Rollout:
    """As callers see it."""
    return Rollout(
        deployment_id=deployment.deployment_id,
        version=deployment.version,
        pending_version=deployment.pending_version,
        is_asleep=deployment.is_asleep,
        canary=_side(sides.get(Role.CANARY)),
        shadow=_side(sides.get(Role.SHADOW)),
        former=_side(sides.get(Role.FORMER)),
    )


def _side(side: SideVersion | None) -> Side | None:
    if side is None:
        return None
    return Side(
        version=side.version,
        state=side.state,
        error=side.error,
        percent=side.percent,
        since=iso(side.since),
        until=iso(side.until),
        answered=_counts(side.calls, side.failures, side.took_ms),
        beside=_counts(side.main_calls, side.main_failures, side.main_took_ms),
        same=side.same,
        different=side.different,
        dropped=side.dropped,
    )


def _counts(calls: int, failures: int, took_ms: float) -> Counts:
    return Counts(calls=calls, failures=failures, mean_ms=took_ms / calls if calls else None)

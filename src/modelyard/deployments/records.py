"""The tables of deployments: the deployments themselves, their projects' tokens, the replicas that are up.

A gateway learns of changes by one number, `RoutingRevision`: every transaction that changes what a gateway must know
raises it as its last step, and writes down what it changed (`changes.note_change`).
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import JsonObject, Record
from modelyard.ids import (
    DeploymentId,
    FeatureGroupId,
    FeatureGroupVersionId,
    ModelId,
    ModelVersionId,
    OnlineTableId,
    OrganizationId,
    ProjectId,
    ReplicaId,
    ServingId,
)

#: What is served: a version of the deployment's model, or of its feature group.
Version = ModelVersionId | FeatureGroupVersionId


class DeploymentStatus(StrEnum):
    """Where a deployment stands."""

    #: Waits for an agent to take its serve run.
    PENDING = "PENDING"
    #: An agent builds the environment and starts the replicas.
    DEPLOYING = "DEPLOYING"
    #: Answers predictions.
    ACTIVE = "ACTIVE"
    #: Put to rest by its owner; can be started again.
    STOPPED = "STOPPED"
    #: Could not be brought up; `error` says why.
    FAILED = "FAILED"


#: Which states may follow which.
TRANSITIONS: dict[DeploymentStatus, frozenset[DeploymentStatus]] = {
    DeploymentStatus.PENDING: frozenset(
        {DeploymentStatus.DEPLOYING, DeploymentStatus.ACTIVE, DeploymentStatus.STOPPED, DeploymentStatus.FAILED}
    ),
    DeploymentStatus.DEPLOYING: frozenset(
        {DeploymentStatus.PENDING, DeploymentStatus.ACTIVE, DeploymentStatus.STOPPED, DeploymentStatus.FAILED}
    ),
    DeploymentStatus.ACTIVE: frozenset({DeploymentStatus.STOPPED, DeploymentStatus.FAILED}),
    DeploymentStatus.STOPPED: frozenset({DeploymentStatus.PENDING}),
    DeploymentStatus.FAILED: frozenset({DeploymentStatus.PENDING, DeploymentStatus.STOPPED}),
}


def sleeps(status: DeploymentStatus, serving_id: ServingId | None, version: Version | None) -> bool:
    """Whether a deployment of which this is known has no replicas because nobody called for long."""
    return status == DeploymentStatus.ACTIVE and serving_id is None and version is not None


class Deployment(Record):
    """A model, or a feature group, put to work under an id that stays while its versions change."""

    __tablename__ = "deployments"
    __table_args__ = (
        Index("ix_deployments_listed", "project_id", "created_at", "deployment_id"),
        Index("ix_deployments_model", "model_id"),
        CheckConstraint("(model_id IS NULL) <> (feature_group_id IS NULL)", name="one_thing_is_served"),
    )

    deployment_id: Mapped[DeploymentId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    project_id: Mapped[ProjectId]
    model_id: Mapped[ModelId | None]
    #: The version that answers, or that will once the deployment has come up.
    model_version: Mapped[ModelVersionId | None]
    #: The version that is being brought up beside it.
    pending_model_version: Mapped[ModelVersionId | None]
    #: Where a feature group is served, these three instead of those above.
    feature_group_id: Mapped[FeatureGroupId | None]
    feature_group_version: Mapped[FeatureGroupVersionId | None]
    pending_feature_group_version: Mapped[FeatureGroupVersionId | None]
    #: Where the rows of an ONLINE group are. They are looked up there as they stand; no version is served.
    online_table_id: Mapped[OnlineTableId | None]
    name: Mapped[str]
    description: Mapped[str | None] = mapped_column(Text)
    status: Mapped[DeploymentStatus] = mapped_column(Text)
    #: Why it FAILED, or why the last switch of versions did not come about.
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    deployed_at: Mapped[datetime | None]
    #: None: as many as the machine can answer.
    calls_per_second: Mapped[int | None]
    auto_deploy: Mapped[bool]
    skip_metrics_check: Mapped[bool]
    algorithm: Mapped[str | None]
    model_deployment_config: Mapped[JsonObject | None]
    default_prediction_arguments: Mapped[JsonObject | None]
    #: The arguments above win over what a call says, instead of filling in what it leaves out.
    arguments_override: Mapped[bool] = mapped_column(default=False)
    batch_streaming_updates: Mapped[bool] = mapped_column(default=False)
    #: Where the rows of each version that answers are written, too, as an `exports.destinations.Destination`.
    export_destination: Mapped[JsonObject | None]
    #: The version that was written there last, so that none is written twice.
    exported_version: Mapped[FeatureGroupVersionId | None]
    #: What was set of `options.DeploymentOptions`.
    options: Mapped[JsonObject | None]
    #: A serving is one version being served by one run. This one answers, or comes up first.
    serving_id: Mapped[ServingId | None]
    #: The serving of a switch under way; it stays here until the gateways have learned of it.
    pending_serving_id: Mapped[ServingId | None]

    @property
    def version(self) -> Version | None:
        """The version that answers, of whichever kind; None for a group whose rows are online."""
        return self.model_version or self.feature_group_version

    @property
    def pending_version(self) -> Version | None:
        """The version that is being brought up beside it."""
        return self.pending_model_version or self.pending_feature_group_version

    @property
    def is_asleep(self) -> bool:
        """Whether it has no replicas, since nobody called for long, and the next call brings them up again."""
        return sleeps(self.status, self.serving_id, self.version)

    def serve(self, version: Version) -> None:
        """Notes the version that answers."""
        if self.feature_group_id is None:
            self.model_version = ModelVersionId(version)
        else:
            self.feature_group_version = FeatureGroupVersionId(version)

    def expect(self, version: Version | None) -> None:
        """Notes the version that is being brought up; None: no longer any."""
        if self.feature_group_id is None:
            self.pending_model_version = None if version is None else ModelVersionId(version)
        else:
            self.pending_feature_group_version = None if version is None else FeatureGroupVersionId(version)


class DeploymentToken(Record):
    """A token with which predictions are asked of any deployment of one project.

    The token itself is kept: the API's list shows it again and again. Source: DeploymentAuthToken.
    """

    __tablename__ = "deployment_tokens"
    __table_args__ = (Index("ix_deployment_tokens_project", "project_id"),)

    deployment_token: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    project_id: Mapped[ProjectId]
    name: Mapped[str | None]
    #: Calls that it may ask a second, of all deployments together; None: as many as those take.
    calls_per_second: Mapped[int | None]
    created_at: Mapped[datetime]


class ReplicaState(StrEnum):
    """Where a replica stands."""

    #: Takes calls.
    READY = "READY"
    #: A gateway saw a call pass its time limit here; the agent replaces it.
    CONDEMNED = "CONDEMNED"


class Replica(Record):
    """A guest that has run `initialize` and listens on a socket of its machine. Rows of dead ones are removed."""

    __tablename__ = "replicas"
    __table_args__ = (Index("ix_replicas_deployment", "deployment_id"),)

    replica_id: Mapped[ReplicaId] = mapped_column(primary_key=True)
    deployment_id: Mapped[DeploymentId] = mapped_column(ForeignKey("deployments.deployment_id", ondelete="CASCADE"))
    serving_id: Mapped[ServingId] = mapped_column(index=True)
    state: Mapped[ReplicaState] = mapped_column(Text)
    machine: Mapped[str]
    #: Path of the listening Unix socket on that machine.
    socket: Mapped[str]
    #: Several calls at once in this replica, or one after the other.
    is_thread_safe: Mapped[bool]
    started_at: Mapped[datetime]


class Role(StrEnum):
    """What a version does beside the one that answers."""

    #: Answers a part of the calls.
    CANARY = "CANARY"
    #: Gets copies of calls; what it says is compared and thrown away.
    SHADOW = "SHADOW"
    #: Answered before the last switch; `rollbackDeployment` goes back to it.
    FORMER = "FORMER"


class SideState(StrEnum):
    """How far its replicas are."""

    #: They start.
    STARTING = "STARTING"
    #: They are up.
    READY = "READY"
    #: They could not be brought up; `error` says why.
    FAILED = "FAILED"
    #: There are none; a former version that is wanted again is brought up like any other.
    RESTING = "RESTING"


class SideVersion(Record):
    """One version beside the one that answers; a deployment has one at most of each role."""

    __tablename__ = "side_versions"

    deployment_id: Mapped[DeploymentId] = mapped_column(
        ForeignKey("deployments.deployment_id", ondelete="CASCADE"), primary_key=True
    )
    role: Mapped[Role] = mapped_column(Text, primary_key=True)
    #: A model version, or of a FORMER one also a feature group version.
    version: Mapped[str]
    state: Mapped[SideState] = mapped_column(Text)
    #: The serving that keeps its replicas.
    serving_id: Mapped[ServingId | None] = mapped_column(index=True)
    #: The part of the calls that it answers, or gets copies of.
    percent: Mapped[float]
    error: Mapped[str | None] = mapped_column(Text)
    since: Mapped[datetime]
    #: When the replicas of a FORMER one are given back.
    until: Mapped[datetime | None]
    #: What gateways counted since then: answers, those of them that were errors, and the time that they took.
    calls: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    took_ms: Mapped[float] = mapped_column(default=0.0)
    #: The same of the version that answers.
    main_calls: Mapped[int] = mapped_column(default=0)
    main_failures: Mapped[int] = mapped_column(default=0)
    main_took_ms: Mapped[float] = mapped_column(default=0.0)
    #: Answers of a SHADOW that were, and were not, what the caller got.
    same: Mapped[int] = mapped_column(default=0)
    different: Mapped[int] = mapped_column(default=0)
    #: Copies that were not made, since the shadow was busy.
    dropped: Mapped[int] = mapped_column(default=0)


class GatewayHome(Record):
    """A home whose gateways share the limits of calls with those of other homes. Where the database is a server."""

    __tablename__ = "gateway_homes"

    #: Machine and folder.
    home: Mapped[str] = mapped_column(Text, primary_key=True)
    seen_at: Mapped[datetime]


class RoutingRevision(Record):
    """One row with one number that grows whenever a gateway has something to learn."""

    __tablename__ = "routing_revision"

    one: Mapped[int] = mapped_column(primary_key=True)
    revision: Mapped[int]


class RoutingChange(Record):
    """What a gateway has to read anew from that number on. The newest are kept; see `changes.py`."""

    __tablename__ = "routing_changes"

    revision: Mapped[int] = mapped_column(primary_key=True)
    #: `changes.What`.
    what: Mapped[str] = mapped_column(primary_key=True)
    #: The deployment's id, or the token.
    changed: Mapped[str] = mapped_column(primary_key=True)

"""The tables of what was observed. No row hangs on a deployment's: the writer must not fail because one has gone."""

from datetime import datetime

from sqlalchemy import Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import JsonObject, Record
from modelyard.ids import DeploymentId, Digest, OrganizationId, RunId


class DeploymentStatistic(Record):
    """What the calls of one deployment added up to in one minute and one gateway, so far."""

    __tablename__ = "deployment_statistics"
    __table_args__ = (Index("ix_deployment_statistics_minute", "minute"),)

    deployment_id: Mapped[DeploymentId] = mapped_column(primary_key=True)
    minute: Mapped[datetime] = mapped_column(primary_key=True)
    #: One process's life: no two ever write the same row, and writing a row twice changes nothing.
    gateway_id: Mapped[str] = mapped_column(primary_key=True)
    #: HTTP status as text -> calls.
    statuses: Mapped[JsonObject]
    #: Upper bound in microseconds as text, or `inf` -> calls that took longer than the bound before it.
    latencies: Mapped[JsonObject]
    #: What those calls took together.
    seconds: Mapped[float]


class PredictionLog(Record):
    """One call of a deployment, with the beginning of what was asked and answered."""

    __tablename__ = "prediction_logs"
    __table_args__ = (Index("ix_prediction_logs_age", "timestamp_ms"),)

    deployment_id: Mapped[DeploymentId] = mapped_column(primary_key=True)
    #: When it came, in milliseconds since 1970.
    timestamp_ms: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(primary_key=True)
    #: The action: predict, predictMultiple, lookupFeatures.
    action: Mapped[str] = mapped_column(Text)
    status: Mapped[int]
    took_us: Mapped[int]
    #: Bytes of the JSON that was asked and answered, and the first of them; None where none are kept.
    query_size: Mapped[int]
    query: Mapped[bytes | None] = mapped_column(LargeBinary)
    response_size: Mapped[int]
    response: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Of a call that failed: the error's name on the wire; its `response` is the message.
    error_type: Mapped[str | None] = mapped_column(Text)


class ExampleRow(Record):
    """The first row of a table that a model was trained on, read when somebody first asks for an example."""

    __tablename__ = "example_rows"

    table_digest: Mapped[Digest] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(primary_key=True)
    table: Mapped[JsonObject]
    #: None until it is known, and where there is none.
    row: Mapped[JsonObject | None]
    is_done: Mapped[bool]
    run_id: Mapped[RunId]
    created_at: Mapped[datetime]

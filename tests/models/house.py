"""What the tests of models share: a source, a table, and waiting for a training."""

import io
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.accounts.records import User
from modelyard.clock import utc_now
from modelyard.feature_groups import versions
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.records import FeatureGroup, SourceType
from modelyard.ids import FeatureGroupId, OrganizationId, new_id
from modelyard.storage import BlobStore, Table, TableColumn, TablePart
from tests.yard import Yard

SOURCE = """
def train(*tables):
    print("training")
    return {"tables": len(tables)}


def predict(model, query):
    return model["tables"]
"""


def make_project(yard: Yard, name: str = "Concrete") -> str:
    """A project's id."""
    return str(yard.call("createProject", name=name, useCase="PYTHON_MODEL")["projectId"])


def make_model(yard: Yard, **parameters: Any) -> dict[str, Any]:
    """A model in a project of its own, as createModelFromPython answers."""
    given: dict[str, Any] = {
        "functionSourceCode": SOURCE,
        "trainFunctionName": "train",
        "predictFunctionName": "predict",
    }
    if "projectId" not in parameters:
        given["projectId"] = make_project(yard)
    answer: dict[str, Any] = yard.call("createModelFromPython", **(given | parameters))
    return answer


def make_table(
    yard: Yard, table_name: str, columns: dict[str, list[Any]], organization_id: OrganizationId | None = None
) -> str:
    """A feature group with one complete version of these rows; gives its id."""
    table = _stored(yard, columns)
    with yard.database.write() as session:
        organization_id = organization_id or session.query(User).first().organization_id  # type: ignore[union-attr]
        group = FeatureGroup(
            feature_group_id=FeatureGroupId(new_id()),
            organization_id=organization_id,
            table_name=table_name,
            source_type=SourceType.BATCH_PREDICTION,
            definition=versions.to_json(Definition()),
            definition_digest=Definition().digest,
            created_at=utc_now(),
            updated_at=utc_now(),
        )
        session.add(group)
        session.flush()
        versions.write_version_from_table(session, group, table)
        return str(group.feature_group_id)


def add_table_version(yard: Yard, feature_group_id: str, columns: dict[str, list[Any]]) -> str:
    """A further version of the table; gives its id."""
    table = _stored(yard, columns)
    with yard.database.write() as session:
        group = session.get_one(FeatureGroup, FeatureGroupId(feature_group_id))
        return str(versions.write_version_from_table(session, group, table).feature_group_version)


def wait_for_end(yard: Yard, model_version: str, timeout_s: float = 90) -> dict[str, Any]:
    """The version once its training has ended."""
    return _wait(yard, model_version, {"COMPLETE", "FAILED"}, timeout_s)


def wait_for_status(yard: Yard, model_version: str, status: str, timeout_s: float = 60) -> dict[str, Any]:
    """The version once it has that status."""
    return _wait(yard, model_version, {status}, timeout_s)


def wait_for_words(yard: Yard, model_version: str, words: str, timeout_s: float = 60) -> None:
    """Returns once the training has printed the words."""
    deadline = time.monotonic() + timeout_s
    while True:
        (logs,) = yard.call("getTrainingLogs", "GET", modelVersion=model_version, stdout=True)
        if words in logs["stdout"]:
            return
        assert time.monotonic() < deadline, f"{words!r} was not printed in {timeout_s} s: {logs}"
        time.sleep(0.05)


def _wait(yard: Yard, model_version: str, statuses: set[str], timeout_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while True:
        version: dict[str, Any] = yard.call("describeModelVersion", "GET", modelVersion=model_version)
        if version["status"] in statuses:
            return version
        assert time.monotonic() < deadline, f"none of {statuses} was reached in {timeout_s} s: {version}"
        time.sleep(0.05)


def _stored(yard: Yard, columns: dict[str, list[Any]]) -> Table:
    arrow = pa.table(columns)
    buffer = io.BytesIO()
    pq.write_table(arrow, buffer, compression="zstd")
    blob = BlobStore(yard.settings.home / "blobs").put_bytes(buffer.getvalue())
    described = tuple(TableColumn(each.name, str(each.type)) for each in arrow.schema)
    return Table((TablePart(blob.digest, arrow.num_rows, blob.size),), described, arrow.num_rows, blob.size)

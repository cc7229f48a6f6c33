"""Online feature groups and streaming datasets, as the official client uses them, on both databases."""

import abacusai
import pytest
from abacusai import StreamingClient
from abacusai.client import (
    AlreadyExistsError,
    ClientOptions,
    ConflictError,
    DataNotFoundError,
    GenericPermissionDeniedError,
    InvalidParameterError,
)

from tests.waiting import wait_until
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox


@pytest.fixture
def yard(shared_yard_of_each: Yard) -> Yard:
    """A house on each kind of database; every test uses names of its own."""
    return shared_yard_of_each


@pytest.fixture
def client(yard: Yard) -> abacusai.ApiClient:
    return yard.client()


@pytest.fixture
def token(client: abacusai.ApiClient) -> str:
    return str(client.create_streaming_token().streaming_token)


def test_a_row_is_found_at_once_and_is_in_the_next_version(client: abacusai.ApiClient, token: str) -> None:
    group = client.create_online_feature_group("users", "user_id", "who they are")
    assert (group.feature_group_source_type, group.streaming_enabled, group.primary_key) == ("ONLINE", True, "user_id")
    assert group.wait_for_streaming_ready().streaming_ready
    group.append_data(token, {"user_id": "ann", "age": 30, "seen": "2026-01-02T03:04:05"})
    group.append_multiple_data(token, [{"user_id": "bob", "age": 41}, {"user_id": "eve", "age": 7, "tags": ["x", "y"]}])
    row = group.upsert_data({"user_id": "ann", "age": 31, "seen": "2026-02-02T00:00:00"}, token)
    assert (row.primary_key, row.contents["age"], row.feature_group_id) == ("ann", 31, group.feature_group_id)
    [found] = group.get_data("ann")
    assert found.contents == {"user_id": "ann", "age": 31, "seen": "2026-02-02T00:00:00"}
    assert [each.primary_key for each in group.get_data(num_rows=2)] == ["ann", "eve"]
    assert [each["user_id"] for each in group.get_recent_streamed_data()] == ["ann", "eve", "bob"]
    assert group.get_data("nobody") == []
    frame = group.load_as_pandas().set_index("user_id")
    assert frame.age.to_dict() == {"ann": 31, "bob": 41, "eve": 7}
    assert str(frame.seen["ann"]) == "2026-02-02 00:00:00"
    assert frame.tags["eve"] == ["x", "y"]


def test_a_version_is_outdated_exactly_when_rows_have_changed(client: abacusai.ApiClient) -> None:
    group = client.create_online_feature_group("changing", "id")
    group.upsert_data({"id": 1, "n": 1})
    group.materialize()
    child = client.create_feature_group("doubled", "SELECT id, n * 2 AS n FROM changing")
    child.materialize()
    for each in (group, child):
        assert each.describe().latest_version_outdated is False
    with pytest.raises(InvalidParameterError):
        group.upsert_data({"id": 2, "n": "text"})
    assert group.describe().latest_version_outdated is False
    group.upsert_data({"id": 2, "n": 2})
    for each in (group, child):
        assert each.describe().latest_version_outdated is True
    assert sorted(child.load_as_pandas().n) == [2, 4]
    assert group.describe().latest_version_outdated is False
    group.delete_data("1")
    assert sorted(child.load_as_pandas().n) == [4]


def test_an_empty_group_has_a_version_without_rows(client: abacusai.ApiClient) -> None:
    group = client.create_online_feature_group("empty", "id")
    assert list(group.load_as_pandas().columns) == ["id"]
    group.upsert_data({"id": "a", "n": 1.5, "flag": True})
    group.delete_data("a")
    frame = group.load_as_pandas()
    assert (len(frame), list(frame.columns), frame.n.dtype) == (0, ["id", "n", "flag"], "float64")


def test_whole_numbers_among_fractions_stay_numbers_from_version_to_version(client: abacusai.ApiClient) -> None:
    group = client.create_online_feature_group("numbers", "id")
    group.upsert_data({"id": "a", "n": 1})
    assert str(group.load_as_pandas().n.dtype).lower() == "int64"
    group.upsert_data({"id": "b", "n": 1.5})
    group.delete_data("b")
    assert str(group.load_as_pandas().n.dtype) == "float64"


def test_rows_are_refused_with_a_reason(client: abacusai.ApiClient, token: str) -> None:
    group = client.create_online_feature_group("strict", "id")
    group.append_data(token, {"id": "a", "n": 1})
    with pytest.raises(AlreadyExistsError, match="upsertData changes it"):
        group.append_data(token, {"id": "a"})
    with pytest.raises(InvalidParameterError, match="there is no value for id, the primary key"):
        group.upsert_data({"n": 1})
    with pytest.raises(InvalidParameterError, match="column 'n' holds a string, but rows before have an integer"):
        group.append_multiple_data(token, [{"id": "b", "n": 2}, {"id": "c", "n": "x"}])
    with pytest.raises(DataNotFoundError, match="no row with the id 'z'"):
        group.delete_data("z")
    assert [row.primary_key for row in group.get_data()] == ["a"]
    table = client.create_feature_group("one", "SELECT id FROM strict")
    with pytest.raises(ConflictError, match="made from SQL"):
        table.append_data(token, {"id": "b"})


def test_a_token_opens_writing_to_its_organisation_alone(yard: Yard, client: abacusai.ApiClient, token: str) -> None:
    group = client.create_online_feature_group("open", "id")
    stranger = StreamingClient(ClientOptions(server=yard.url))
    stranger.append_data(group.feature_group_id, token, {"id": "a"})
    assert token in [each.streaming_token for each in client.list_streaming_tokens()]
    with pytest.raises(GenericPermissionDeniedError):
        stranger.append_data(group.feature_group_id, "f" * 32, {"id": "b"})
    with pytest.raises(CallFailed, match="403"):
        yard.call("getData", "GET", key="", featureGroupId=group.feature_group_id, streamingToken=token)
    client.delete_streaming_token(token)

    def is_refused() -> bool:
        try:
            stranger.append_data(group.feature_group_id, token, {})
        except GenericPermissionDeniedError:
            return True
        return False

    wait_until(is_refused, 5)


def test_a_streaming_dataset_is_snapshotted(client: abacusai.ApiClient, token: str) -> None:
    dataset = client.create_streaming_dataset("clicks")
    group = client.describe_feature_group_by_table_name("clicks")
    assert (dataset.source_type, group.feature_group_source_type) == ("STREAMING", "ONLINE")
    assert (group.dataset_id, group.primary_key) == (dataset.dataset_id, "row_id")
    group.append_multiple_data(token, [{"page": f"/{number}"} for number in range(250)])
    version = dataset.snapshot_streaming_data().wait_for_import()
    assert (version.status, version.row_count) == ("COMPLETE", 250)
    described = group.describe()
    assert described.latest_version_outdated is False
    assert described.latest_feature_group_version.source_dataset_versions == [version.dataset_version]
    group.append_data(token, {"page": "/late"})
    assert group.describe().latest_version_outdated is True
    assert len(group.load_as_pandas()) == 251
    assert dataset.dataset_id not in [each.dataset_id for each in client.list_datasets(exclude_streaming=True)]
    with pytest.raises(InvalidParameterError, match="snapshotStreamingData"):
        client.create_dataset_version_from_upload(dataset.dataset_id)
    policy = client.create_refresh_policy("nightly", "0 3 * * *", "DATASET", dataset_ids=[dataset.dataset_id])
    policy.run()
    wait_until(lambda: dataset.describe().latest_dataset_version.row_count == 251, 60)


def test_retention_is_kept_to_at_once(client: abacusai.ApiClient, token: str) -> None:
    dataset = client.create_streaming_dataset("recent", primary_key="id")
    group = client.describe_feature_group_by_table_name("recent")
    group.append_multiple_data(token, [{"id": number} for number in range(20)])
    dataset.set_streaming_retention_policy(retention_row_count=5)
    group.append_data(token, {"id": 20})
    assert sorted(int(row.primary_key) for row in group.get_data()) == [16, 17, 18, 19, 20]
    dataset.set_streaming_retention_policy(ignore_records_before_timestamp=4_000_000_000)
    assert group.get_data() == []
    with pytest.raises(InvalidParameterError, match="retentionHours is -1"):
        dataset.set_streaming_retention_policy(retention_hours=-1)


def test_what_stands_on_an_online_group_keeps_it(client: abacusai.ApiClient) -> None:
    group = client.create_online_feature_group("kept", "id")
    child = client.create_feature_group("child_of_kept", "SELECT * FROM kept")
    with pytest.raises(ConflictError, match="child_of_kept"):
        client.delete_feature_group(group.feature_group_id)
    client.delete_feature_group(child.feature_group_id)
    client.delete_feature_group(group.feature_group_id)
    with pytest.raises(DataNotFoundError):
        group.upsert_data({"id": "a"})
    dataset = client.create_streaming_dataset("kept_set")
    with pytest.raises(ConflictError, match="is the table of dataset"):
        client.delete_feature_group(client.describe_feature_group_by_table_name("kept_set").feature_group_id)
    client.delete_dataset(dataset.dataset_id)


def test_the_moment_of_writing_is_kept_where_a_column_is_named_for_it(client: abacusai.ApiClient, token: str) -> None:
    group = client.create_online_feature_group("stamped", "id")
    group.set_indexing_config(update_timestamp_key="written_at")
    assert group.describe().indexing_config.primary_key == "id"
    wait_until(lambda: "written_at" in (group.upsert_data({"id": "a"}).contents or {}), 5)
    group.append_data(token, {"id": "b", "written_at": "2020-01-01T00:00:00Z"})
    assert group.get_data("b")[0].contents["written_at"] == "2020-01-01T00:00:00Z"
    assert str(group.load_as_pandas().written_at.dtype).startswith("datetime64")
    with pytest.raises(ConflictError, match="it can't be changed"):
        group.set_indexing_config(primary_key="written_at")
    with pytest.raises(InvalidParameterError, match="it must have one"):
        group.set_indexing_config(primary_key="")


def test_rows_of_a_model_come_from_an_online_group(client: abacusai.ApiClient, token: str) -> None:
    group = client.create_online_feature_group("points", "id")
    group.append_multiple_data(token, [{"id": n, "x": float(n), "y": 2.0 * n} for n in range(1, 6)])
    project = client.create_project("Lines", "PYTHON_MODEL")
    source = "def train(t):\n    return float((t.y / t.x).mean())\n\ndef predict(m, q):\n    return m * q['x']\n"
    model = client.create_model_from_python(project.project_id, source, "train", ["points"], "predict", name="Line")
    version = model.wait_for_training().latest_model_version
    assert version.status == "COMPLETE", version.error
    assert group.describe().latest_version_outdated is False

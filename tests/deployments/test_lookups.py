"""Feature groups deployed, and their rows looked up, as the official client does it; on both databases."""

import threading
import time
import uuid
from typing import Any

import abacusai
import pytest
import requests
from abacusai import PredictionClient
from abacusai.client import (
    ClientOptions,
    ConflictError,
    DataNotFoundError,
    GenericPermissionDeniedError,
    InvalidParameterError,
    MissingParameterError,
    NotReadyError,
)
from abacusai.deployment import Deployment

from tests.api.everything import make_strangers
from tests.models.house import add_table_version, make_model, make_project, make_table
from tests.waiting import wait_until
from tests.yard import CallFailed, Yard

pytestmark = pytest.mark.sandbox

PEOPLE: dict[str, list[Any]] = {
    "user_id": ["ann", "bob", "eve", "bob"], "age": [30, 41, 7, 42], "city": ["Ulm", "Bonn", "Ulm", "Ulm"],
    "score": [0.5, None, float("nan"), 2.0],
}  # fmt: skip


@pytest.fixture
def yard(shared_yard_of_each: Yard) -> Yard:
    """A house on each kind of database; every test uses names of its own."""
    return shared_yard_of_each


@pytest.fixture
def client(yard: Yard) -> abacusai.ApiClient:
    return yard.client()


class Store:
    """A project with a token, and one group of people with lookup keys."""

    def __init__(self, yard: Yard, keys: tuple[str, ...] = ("user_id", "city", "age")) -> None:
        self.yard, self.client = yard, yard.client()
        self.project_id = make_project(yard, "Features")
        self.token = str(self.client.create_deployment_token(self.project_id).deployment_token)
        self.group_id = make_table(yard, f"people_{uuid.uuid4().hex[:8]}", PEOPLE)
        self.client.set_feature_group_indexing_config(self.group_id, lookup_keys=list(keys))

    def deploy(self, **given: Any) -> Deployment:
        made = self.client.create_deployment(feature_group_id=self.group_id, project_id=self.project_id, **given)
        found: Deployment = made.wait_for_deployment()
        assert found.status == "ACTIVE", found.error
        return found

    def look_up(self, deployment: Deployment, query: dict[str, Any], **given: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.client.lookup_features(self.token, deployment.deployment_id, query, **given)
        return rows


@pytest.fixture
def store(yard: Yard) -> Store:
    return Store(yard)


@pytest.fixture(scope="module")
def deployed(shared_yard_of_each: Yard) -> tuple[Store, Deployment]:
    """A group that is deployed, for tests that only ask."""
    store = Store(shared_yard_of_each)
    return store, store.deploy(name="People")


Deployed = tuple[Store, Deployment]


def test_a_deployed_group_shows_what_it_serves_and_gives_its_rows(deployed: Deployed) -> None:
    store, deployment = deployed
    [version] = store.client.list_feature_group_versions(store.group_id)
    assert (deployment.feature_group_id, deployment.feature_group_version) == (store.group_id, version.id)
    assert (deployment.model_id, deployment.pending_model_version, deployment.algo_name) == (None, None, None)
    assert [each.deployment_id for each in store.client.list_deployments(store.project_id)] == [deployment.id]
    asked = {"user_id": "ann"}
    rows = [{"user_id": "ann", "age": 30, "city": "Ulm", "score": 0.5}]
    assert store.look_up(deployment, asked) == rows
    with_token_alone = PredictionClient(ClientOptions(server=store.yard.url))
    assert with_token_alone.lookup_features(store.token, deployment.deployment_id, asked) == rows
    assert store.client.lookup_features(None, deployment.deployment_id, asked) == rows


def test_several_values_and_several_columns_find_the_rows_that_match_all(deployed: Deployed) -> None:
    store, deployment = deployed

    def ages(query: dict[str, Any], **given: Any) -> list[int]:
        return [row["age"] for row in store.look_up(deployment, query, **given)]

    assert ages({"user_id": ["eve", "bob", "nobody", "eve"]}) == [7, 41, 42]
    assert ages({"user_id": "nobody"}) == ages({"user_id": []}) == []
    assert ages({"city": "Ulm", "user_id": ["ann", "bob"]}) == [30, 42]
    assert ages({"city": "Ulm", "age": [41, 42], "user_id": "bob"}) == [42]
    assert ages({"city": "Ulm"}, limit_results=2) == [30, 7]
    assert ages({"age": "41"}) == ages({"age": 41.0}) == [41]
    assert store.look_up(deployment, {"age": 7}, result_columns=["score", "city"]) == [{"score": None, "city": "Ulm"}]


@pytest.mark.parametrize(
    ("query", "more", "why"),
    [
        ({"score": 1}, {}, "are looked up by user_id, city, age, not by 'score'"),
        ({"age": "old"}, {}, 'age holds int64, so it can\'t be "old"'),
        ({"age": True}, {}, "so it can't be true"),
        ({"user_id": 1.5}, {}, "so it can't be 1.5"),
        ({}, {}, "queryData names no column"),
        ({"user_id": None}, {}, "got `null`"),
        ({"user_id": {"is": "ann"}}, {}, "got `object`"),
        ({"user_id": ["x"] * 1001}, {}, "at most 1,000"),
        ({"user_id": "ann"}, {"result_columns": ["scor"]}, "did you mean score?"),
        ({"user_id": "ann"}, {"limit_results": 0}, "must be 1 to 10,000"),
        ({"user_id": "ann"}, {"limit_results": 10_001}, "must be 1 to 10,000"),
    ],
)
def test_what_can_not_be_looked_up_is_refused_with_a_reason(
    deployed: Deployed, query: dict[str, Any], more: dict[str, Any], why: str
) -> None:
    store, deployment = deployed
    with pytest.raises(InvalidParameterError) as refused:
        store.look_up(deployment, query, **more)
    assert why in str(refused.value)


def test_a_lookup_has_query_data_and_nothing_unknown(deployed: Deployed) -> None:
    store, deployment = deployed
    url = f"{store.yard.url}/api/v0/lookupFeatures?deploymentToken={store.token}&deploymentId={deployment.id}"
    assert requests.post(url, json={}, timeout=30).json()["errorType"] == "MissingParameterError"
    unknown = requests.post(url, json={"queryData": {"user_id": "ann"}, "limit": 3}, timeout=30).json()
    assert (unknown["errorType"], "unknown field `limit`" in unknown["error"]) == ("InvalidParameterError", True)
    long = requests.post(url, json={"queryData": {"user_id": "x" * 1024**2}}, timeout=30)
    assert (long.status_code, long.json()["errorType"]) == (413, "InvalidRequest")
    by_get = requests.get(f'{url}&queryData={{"user_id":"ann"}}&resultColumns=["age"]', timeout=30).json()
    assert by_get["result"] == [{"age": 30}]


def test_a_lookup_is_opened_by_a_token_of_the_project_or_a_key_of_the_organisation(deployed: Deployed) -> None:
    store, deployment = deployed
    query = {"user_id": "ann"}
    elsewhere = store.client.create_deployment_token(make_project(store.yard, "Elsewhere")).deployment_token
    with pytest.raises(GenericPermissionDeniedError, match="another project"):
        store.client.lookup_features(elsewhere, deployment.deployment_id, query)
    stranger = make_strangers(store.yard, f"strangers-{uuid.uuid4().hex[:8]}")[0].client()
    with pytest.raises(DataNotFoundError, match=r"Deployment \w+ was not found"):
        stranger.lookup_features(None, deployment.deployment_id, query)
    with pytest.raises(DataNotFoundError):
        stranger.set_deployment_feature_group_version(deployment.deployment_id, deployment.feature_group_version)
    revoked = store.client.create_deployment_token(store.project_id).deployment_token
    assert store.client.lookup_features(revoked, deployment.deployment_id, query)
    store.client.delete_deployment_token(revoked)

    def is_refused() -> bool:
        try:
            store.client.lookup_features(revoked, deployment.deployment_id, query)
        except GenericPermissionDeniedError:
            return True
        return False

    wait_until(is_refused, 1)


def test_models_and_groups_are_asked_each_by_their_own_call(deployed: Deployed) -> None:
    store, deployment = deployed
    with pytest.raises(ConflictError, match="ask it by lookupFeatures"):
        store.client.predict(store.token, deployment.deployment_id, {"user_id": "ann"})
    with pytest.raises(ConflictError, match="no prediction arguments"):
        store.client.set_default_prediction_arguments(deployment.deployment_id, {"a": 1})
    with pytest.raises(InvalidParameterError, match="needs one of a model"):
        store.client.create_batch_prediction(deployment.deployment_id)


def test_a_switch_of_versions_under_load_loses_no_lookup(store: Store) -> None:
    deployment = store.deploy()
    first = deployment.feature_group_version
    second = add_table_version(store.yard, store.group_id, PEOPLE | {"age": [130, 141, 107, 142]})
    url = f"{store.yard.url}/api/v0/lookupFeatures?deploymentToken={store.token}&deploymentId={deployment.id}"
    answers: list[tuple[float, int, Any]] = []
    done = threading.Event()

    def load() -> None:
        with requests.Session() as session:
            while not done.is_set():
                began = time.monotonic()
                answer = session.post(url, json={"queryData": {"user_id": "ann"}}, timeout=60)
                answers.append((began, answer.status_code, answer.json()["result"][0]["age"]))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for version, age in ((second, 130), (first, 30)):
            deployment.set_feature_group_version(version)
            deployment.refresh()
            if deployment.feature_group_version != version:
                pending = {"featureGroupId": store.group_id, "featureGroupVersion": version}
                assert deployment.pending_model_version == pending
            wait_until(lambda: not deployment.refresh().pending_model_version, 60)
            assert (deployment.status, deployment.feature_group_version, deployment.error) == ("ACTIVE", version, None)
            switched, count = time.monotonic(), len(answers)
            wait_until(lambda: len(answers) > count + 20)  # noqa: B023 - called at once
            assert {each[2] for each in answers if each[0] > switched} == {age}
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert {status for _, status, _ in answers} == {200}


def test_what_is_deployed_is_kept_and_lineage_tells_by_whom(store: Store) -> None:
    deployment = store.deploy(name="Keeper")
    version = deployment.feature_group_version
    add_table_version(store.yard, store.group_id, PEOPLE)
    for _ in range(2):
        with pytest.raises(ConflictError, match=f"{deployment.name}.*{deployment.deployment_id}"):
            store.client.delete_feature_group(store.group_id)
        with pytest.raises(ConflictError, match=str(deployment.name)):
            store.client.delete_feature_group_version(version)
        deployment.rename("Keeper of people")
        deployment.refresh()
    down = store.yard.call("describeLineage", "GET", featureGroupVersion=version)["descendants"]
    assert [(each["kind"], each["name"], each["id"]) for each in down] == [
        ("deployment", "Keeper of people", deployment.deployment_id)
    ]
    deployment.delete()
    store.client.delete_feature_group_version(version)
    store.client.delete_feature_group(store.group_id)


def test_a_stopped_deployment_gives_nothing_until_it_is_started_again(store: Store) -> None:
    deployment = store.deploy()
    deployment.stop()
    with pytest.raises(NotReadyError, match="is STOPPED; start it with startDeployment"):
        store.look_up(deployment, {"user_id": "ann"})
    second = add_table_version(store.yard, store.group_id, PEOPLE | {"age": [1, 2, 3, 4]})
    deployment.set_feature_group_version(second)
    store.client.set_feature_group_indexing_config(store.group_id, primary_key="user_id")
    deployment.start()
    assert deployment.wait_for_deployment().status == "ACTIVE"
    assert [row["age"] for row in store.look_up(deployment, {"user_id": "ann"})] == [1]
    with pytest.raises(InvalidParameterError, match="looked up by user_id, not by 'city'"):
        store.look_up(deployment, {"city": "Ulm"})


def test_a_refresh_policy_brings_the_newest_version(store: Store) -> None:
    deployment = store.deploy()
    second = add_table_version(store.yard, store.group_id, PEOPLE)
    policy = store.client.create_refresh_policy(
        "nightly", "0 4 * * *", "DEPLOYMENT", deployment_ids=[deployment.deployment_id]
    )
    policy.run()
    wait_until(lambda: deployment.refresh().feature_group_version == second, 60)


def test_only_what_can_be_looked_up_is_deployed(yard: Yard, client: abacusai.ApiClient, store: Store) -> None:
    project_id = store.project_id
    bare = make_table(yard, f"bare_{uuid.uuid4().hex[:8]}", {"x": [1]})
    with pytest.raises(ConflictError, match="has no key to look rows up by"):
        client.create_deployment(feature_group_id=bare, project_id=project_id)
    with pytest.raises(MissingParameterError, match="projectId"):
        client.create_deployment(feature_group_id=store.group_id)
    unmade = client.create_feature_group(
        f"unmade_{uuid.uuid4().hex[:8]}", f"SELECT x FROM {client.describe_feature_group(bare).name}"
    )
    unmade.set_indexing_config(primary_key="x")
    with pytest.raises(NotReadyError, match="no complete version"):
        client.create_deployment(feature_group_id=unmade.id, project_id=project_id)
    model = make_model(yard, projectId=project_id)
    with pytest.raises(InvalidParameterError, match="leave out one"):
        client.create_deployment(model_id=model["modelId"], feature_group_id=store.group_id, project_id=project_id)
    deployment = client.create_deployment(feature_group_id=store.group_id, project_id=project_id, start=False)
    assert deployment.status == "STOPPED"
    [other] = client.list_feature_group_versions(bare)
    with pytest.raises(ConflictError, match="belongs to feature group"):
        deployment.set_feature_group_version(other.id)
    without = add_table_version(yard, store.group_id, {"user_id": ["ann"], "age": [1]})
    with pytest.raises(ConflictError, match="has no column city"):
        deployment.set_feature_group_version(without)
    with pytest.raises(CallFailed, match="serves feature group"):
        yard.call("setDeploymentModelVersion", "PATCH", deploymentId=deployment.id, modelVersion=_trained(yard, model))


def _trained(yard: Yard, model: dict[str, Any]) -> str:
    return str(yard.call("describeModel", "GET", modelId=model["modelId"])["latestModelVersion"]["modelVersion"])


def test_rows_online_are_found_as_they_stand(yard: Yard, client: abacusai.ApiClient) -> None:
    project_id = make_project(yard, "Online")
    token = client.create_deployment_token(project_id).deployment_token
    group = client.create_online_feature_group(f"online_{uuid.uuid4().hex[:8]}", "user_id")
    deployment = client.create_deployment(feature_group_id=group.id, project_id=project_id)
    assert (deployment.status, deployment.feature_group_id, deployment.online_feature_group_id) == (
        "ACTIVE", group.id, group.id,
    )  # fmt: skip
    assert deployment.feature_group_version is None

    def look_up(query: dict[str, Any], **given: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = client.lookup_features(token, deployment.deployment_id, query, **given)
        return rows

    assert look_up({"user_id": "ann"}) == []
    for age in range(20):
        group.upsert_data({"user_id": "ann", "age": age})
        assert look_up({"user_id": "ann"}) == [{"user_id": "ann", "age": age}]
    group.upsert_data({"user_id": "7", "city": "Ulm"})
    assert look_up({"user_id": ["7", "nobody", "ann", 7]}, result_columns=["age", "user_id"]) == [
        {"age": None, "user_id": "7"}, {"age": 19, "user_id": "ann"},
    ]  # fmt: skip
    assert look_up({"user_id": [7, "ann"]}, limit_results=1) == [{"user_id": "7", "city": "Ulm"}]
    group.delete_data("ann")
    assert look_up({"user_id": "ann"}) == []
    for query, more, why in (
        ({"city": "Ulm"}, {}, "looked up by user_id, not by 'city'"),
        ({"user_id": 1.5}, {}, "must be text or a whole number"),
        ({"user_id": "ann"}, {"result_columns": ["cty"]}, "did you mean city?"),
    ):
        with pytest.raises(InvalidParameterError, match=why):
            look_up(query, **more)
    with pytest.raises(ConflictError, match="Deployment"):
        client.delete_feature_group(group.id)
    deployment.stop()
    with pytest.raises(NotReadyError, match="STOPPED"):
        look_up({"user_id": 7})
    deployment.start()
    assert look_up({"user_id": 7}) == [{"user_id": "7", "city": "Ulm"}]
    version = group.materialize().latest_feature_group_version.feature_group_version
    with pytest.raises(ConflictError, match="no version to switch"):
        deployment.set_feature_group_version(version)


def test_rows_past_their_time_are_not_found(yard: Yard, client: abacusai.ApiClient) -> None:
    project_id = make_project(yard, "Retained")
    dataset = client.create_streaming_dataset(f"retained_{uuid.uuid4().hex[:8]}", primary_key="user_id")
    group = client.describe_feature_group_by_table_name(dataset.feature_group_table_name)
    deployment = client.create_deployment(feature_group_id=group.id, project_id=project_id)
    group.upsert_data({"user_id": "ann"})
    assert client.lookup_features(None, deployment.id, {"user_id": "ann"}) == [{"user_id": "ann"}]
    dataset.set_streaming_retention_policy(ignore_records_before_timestamp=4_000_000_000)
    assert client.lookup_features(None, deployment.id, {"user_id": "ann"}) == []


def test_calls_per_second_count_lookups(yard: Yard, client: abacusai.ApiClient) -> None:
    project_id = make_project(yard, "Limited")
    group = client.create_online_feature_group(f"limited_{uuid.uuid4().hex[:8]}", "user_id")
    deployment = client.create_deployment(feature_group_id=group.id, project_id=project_id, calls_per_second=2)
    url = f"{yard.url}/api/v0/lookupFeatures?deploymentId={deployment.id}"
    answers = [
        requests.post(url, json={"queryData": {"user_id": "x"}}, headers={"apiKey": yard.key}, timeout=30)
        for _ in range(20)
    ]
    assert {answer.status_code for answer in answers} == {200, 429}


def test_a_new_version_of_the_group_goes_to_its_deployment_where_that_is_wanted(store: Store) -> None:
    following, staying = store.deploy(), store.deploy(auto_deploy=False)
    [first] = store.client.list_feature_group_versions(store.group_id)
    second = add_table_version(store.yard, store.group_id, {**PEOPLE, "age": [1, 2, 3, 4]})

    def version_of(deployment: Deployment) -> str:
        return str(store.client.describe_deployment(deployment.deployment_id).feature_group_version)

    wait_until(lambda: version_of(following) == second, 60)
    assert [row["age"] for row in store.look_up(following, {"user_id": "ann"})] == [1]
    assert version_of(staying) == first.id
    following.set_feature_group_version(first.id)
    wait_until(lambda: version_of(following) == first.id, 60)
    third = add_table_version(store.yard, store.group_id, {"other": [1]})
    wait_until(lambda: "has no column user_id" in str(store.client.describe_deployment(following.id).error), 60)
    assert version_of(following) == first.id
    assert third not in (version_of(following), version_of(staying))

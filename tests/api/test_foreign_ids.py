"""Every parameter that names an object, in every action, given another organisation's: it must look like none.

Generated from the table of actions. Whoever adds an action with a new kind of id is told to add it to `everything.py`.
"""

import dataclasses
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from modelyard.accounts.records import Organization
from modelyard.actions import Action, Auth, Parameter
from modelyard.app import all_actions
from modelyard.database import Database, Record
from modelyard.ids import OrganizationId
from modelyard.settings import Settings
from tests.api.everything import (
    ABSENT,
    MAKES,
    MEANING,
    Everything,
    ask,
    make_everything,
    make_strangers,
    meaning_of,
    names_an_object,
    valid_values,
)
from tests.yard import Yard

ACTIONS = all_actions()
CASES = [
    (action, parameter)
    for action in ACTIONS.values()
    for parameter in action.parameters
    if names_an_object(parameter)
    and parameter.wire_name not in ABSENT
    and (action.name, parameter.wire_name) not in MAKES
    and action.auth in (Auth.KEY, Auth.STREAMING_TOKEN)
]
#: Names of tables are no ids: an absent one is an InvalidParameterError that tells the nearest of one's own.
BY_NAME = {"trainingInputTables", "sql", "query", ("createFeatureGroupFromFunction", "inputFeatureGroups")}
#: Filters of a list of one's own: they find nothing, which is what they find for an id that never was.
FILTERS = {("listRefreshPolicies", parameter.wire_name) for parameter in ACTIONS["listRefreshPolicies"].parameters}
#: Refused before it is looked up, whosever it is.
REFUSED_BEFORE = {("setDatasetDatabaseConnectorConfig", "databaseConnectorId")}
#: Said to belong to another project than the model's, which is as true of an id that never was.
CONTRADICTED = {("createDeployment", "projectId")}
#: What else an action must be given so that it gets to the parameter.
ALSO: dict[tuple[str, str], dict[str, Any]] = {
    ("createBatchPrediction", "databaseConnectorId"): {"databaseOutputConfig": {"objectName": "predicted"}},
    ("setBatchPredictionDatabaseConnectorOutput", "databaseConnectorId"): {
        "databaseOutputConfig": {"objectName": "predicted"}
    },
    ("createRefreshPolicy", "featureGroupId"): {"refreshType": "FEATUREGROUP"},
    ("createRefreshPolicy", "datasetIds"): {"refreshType": "DATASET"},
    ("createRefreshPolicy", "deploymentIds"): {"refreshType": "DEPLOYMENT"},
    ("createRefreshPolicy", "batchPredictionIds"): {"refreshType": "BATCHPRED"},
    ("createFeatureGroupFromFunction", "inputFeatureGroups"): {
        "functionSourceCode": "def rows(table):\n    return table\n",
        "functionName": "rows",
    },
}


@pytest.fixture(scope="module")
def houses() -> Iterator[tuple[Everything, Everything]]:
    """The owner's objects and the stranger's, of every kind, in one house."""
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    with Yard(Settings.load({}, home=folder, port=0), with_agent=False) as yard:
        with yard.database.read() as session:
            owner_id = session.scalars(select(Organization.organization_id)).one()
        owner = make_everything(yard, owner_id, "owners")
        stranger = make_everything(*make_strangers(yard, "strangers"), "strangers")
        yield owner, stranger
    shutil.rmtree(folder, ignore_errors=True)


def rows_of(database: Database, organization_id: OrganizationId) -> set[tuple[str, str]]:
    """Every row that the organisation owns, and every row of the tables that say no owner."""
    found: set[tuple[str, str]] = set()
    with database.read() as session:
        for table in Record.metadata.sorted_tables:
            query = select(table)
            if "organization_id" in table.c:
                query = query.where(table.c.organization_id == organization_id)
            found |= {(table.name, repr(row)) for row in session.execute(query)}
    return found


def identify(value: object) -> str:
    return value.name if isinstance(value, Action) else value.wire_name if isinstance(value, Parameter) else ""


def expected(action: Action, parameter: Parameter) -> set[str]:
    where = (action.name, parameter.wire_name)
    if where in BY_NAME or (parameter.wire_name in BY_NAME):
        return {"InvalidParameterError"}
    if parameter.wire_name == "streamingToken" and action.auth is Auth.STREAMING_TOKEN:
        return {"GenericPermissionDeniedError"}
    return {"InvalidParameterError"} if where in REFUSED_BEFORE | CONTRADICTED else {"DataNotFoundError"}


def given(action: Action, parameter: Parameter, mine: Everything, other: Everything) -> dict[str, Any]:
    """Values that would do, all the caller's own but for the one parameter."""
    means = meaning_of(action, parameter)
    assert means is not None
    extra = ALSO.get((action.name, parameter.wire_name), {})
    if action.name == "createDeployment":
        extra = {"modelVersion": mine.ids["modelVersion"]}
        extra = {} if parameter.wire_name in ("modelId", "modelVersion") else extra
        extra = {"projectId": mine.ids["projectId"]} if parameter.wire_name == "featureGroupId" else extra
    if action.name == "updateFeatureGroupSqlDefinition" and parameter.wire_name == "sql":
        extra = {"featureGroupId": mine.ids["sqlFeatureGroupId"]}
    return valid_values(action, mine) | extra | {parameter.wire_name: means(other)}


def nobody(like: Everything) -> Everything:
    """Ids and names that never were."""
    ids = {kind: f"{number:010x}" for number, kind in enumerate(like.ids)}
    return dataclasses.replace(like, ids=ids, table_name="nobodys_rows")


def said(answer: requests.Response, house: Everything) -> str:
    """What was answered, but for the ids and names in it."""
    text = re.sub(r"; (did you mean \w+\?|listFeatureGroups shows.*)", "", str(answer.json()["error"])).replace(
        house.table_name, "a table"
    )
    for kind, each in house.ids.items():
        text = text.replace(each, kind)
    return f"{answer.status_code} {answer.json()['errorType']} {text}"


@pytest.mark.parametrize(("action", "parameter"), CASES, ids=identify)
def test_another_organisations_object_looks_like_none(
    houses: tuple[Everything, Everything], action: Action, parameter: Parameter
) -> None:
    owner, stranger = houses
    before = rows_of(owner.yard.database, owner.organization_id)
    answer = ask(stranger.yard, action, given(action, parameter, stranger, owner))
    after = rows_of(owner.yard.database, owner.organization_id)
    assert before <= after
    assert {row for row in after - before if owner.organization_id in row[1]} == set()
    if (action.name, parameter.wire_name) in FILTERS:
        assert answer.json()["result"] == []
    else:
        assert answer.json()["success"] is False, answer.text
        assert answer.json()["errorType"] in expected(action, parameter), answer.text
        unknown = ask(stranger.yard, action, given(action, parameter, stranger, nobody(owner)))
        assert said(answer, owner) == said(unknown, nobody(owner))


@pytest.mark.parametrize("remap", ["key", "value"])
def test_both_sides_of_a_remap_must_be_ones_own(houses: tuple[Everything, Everything], remap: str) -> None:
    owner, stranger = houses
    mine, theirs = stranger.ids["datasetId"], owner.ids["datasetId"]
    values = {
        "batchPredictionId": stranger.ids["batchPredictionId"],
        "datasetIdRemap": {theirs: mine} if remap == "key" else {mine: theirs},
    }
    answer = ask(stranger.yard, ACTIONS["setBatchPredictionDatasetRemap"], values)
    assert answer.json()["errorType"] == "DataNotFoundError", answer.text


@pytest.mark.parametrize(
    "name", ["predict", "predictMultiple", "predictFromDatasets", "predictWithBinaryData", "lookupFeatures"]
)
def test_predictions_are_asked_with_ones_own_key_or_token(houses: tuple[Everything, Everything], name: str) -> None:
    owner, stranger = houses
    target = {"deploymentId": owner.ids["deploymentId"], "queryData": [{}] if name == "predictMultiple" else {"x": 1}}
    by_key = ask(stranger.yard, ACTIONS[name], target)
    by_token = ask(stranger.yard, ACTIONS[name], target | {"deploymentToken": stranger.ids["deploymentToken"]})
    assert by_key.json()["errorType"] == "DataNotFoundError", by_key.text
    assert by_token.json()["errorType"] == "GenericPermissionDeniedError", by_token.text


def test_names_of_tables_are_free_in_each_organisation(houses: tuple[Everything, Everything]) -> None:
    owner, stranger = houses
    for name, table in enumerate((owner.table_name, "owners_uploaded")):
        sql = f"SELECT {name} AS n FROM {stranger.table_name}"
        answer = ask(stranger.yard, ACTIONS["createFeatureGroup"], {"tableName": table, "sql": sql})
        assert answer.json()["success"], answer.text
    found = owner.yard.call("describeFeatureGroupByTableName", "GET", tableName=owner.table_name)
    assert found["featureGroupId"] == owner.ids["featureGroupId"]


def test_lists_show_nothing_of_the_other_organisation(houses: tuple[Everything, Everything]) -> None:
    owner, stranger = houses
    for action in ACTIONS.values():
        if action.verb == "GET" and not any(parameter.required for parameter in action.parameters):
            text = ask(stranger.yard, action, {}).text
            assert not [each for each in owner.ids.values() if f'"{each}"' in text], action.name
            assert owner.organization_id not in text


def test_every_kind_of_id_is_tried() -> None:
    tried = {parameter.wire_name for _, parameter in CASES}
    assert set(MEANING) <= tried

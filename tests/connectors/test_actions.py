"""The actions of connectors that no database is needed for: what they refuse, what they show, and to whom."""

import logging
from typing import Any

import pytest

from modelyard.accounts.first_run import add_organization, add_user
from modelyard.accounts.keys import create_key
from modelyard.accounts.records import Organization, Role
from modelyard.clock import utc_now
from tests.connectors.conftest import SECRETS
from tests.yard import CallFailed, Yard

HIDDEN = "a-secret-that-nobody-sees"


def key_of(yard: Yard, role: Role, *, elsewhere: bool = False) -> str:
    """The key of a new user, in the first organisation or in one of their own."""
    with yard.database.write() as session:
        organization = (
            add_organization(session, "Others", utc_now) if elsewhere else session.query(Organization).first()
        )
        assert organization is not None
        name = f"{role}-{elsewhere}-{utc_now().timestamp()}".lower()
        user = add_user(session, organization, name, f"{name}@localhost", utc_now, role)
        return create_key(session, user.user_id, "test", utc_now())[1]


def test_secrets_are_never_shown_and_never_logged(shared_yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    yard, everything = shared_yard, ""
    with caplog.at_level(logging.DEBUG):
        auth = {"host": "localhost", "database": "d", "user": "u"}
        database = yard.call(
            "createDatabaseConnector", name="n", service="MYSQL", auth=auth, secrets={"password": HIDDEN}
        )
        code = {"url": "https://localhost/x.git"}
        git = yard.call("createApplicationConnector", name="g", auth=code, secrets={"token": HIDDEN})
        files = {"access_key_id": "x", "secret_access_key": HIDDEN}
        yard.call("createFileConnector", bucket="s3://hidden", secrets=files)
        for verb, action, values in (
            ("GET", "listDatabaseConnectors", {}), ("GET", "listApplicationConnectors", {}),
            ("GET", "listFileConnectors", {}),
            ("GET", "getDatabaseConnectorAuth", {"databaseConnectorId": database["databaseConnectorId"]}),
            ("GET", "getConnectorAuth", {"applicationConnectorId": git["applicationConnectorId"]}),
            ("GET", "getFileConnectorInstructions", {"bucket": "s3://hidden"}),
            ("POST", "verifyDatabaseConnector", {"databaseConnectorId": database["databaseConnectorId"]}),
            ("POST", "verifyApplicationConnector", {"applicationConnectorId": git["applicationConnectorId"]}),
        ):  # fmt: skip
            try:
                everything += str(yard.call(action, verb, **values))
            except CallFailed as error:
                everything += error.error
    assert HIDDEN not in everything + caplog.text
    stored = b"".join(path.read_bytes() for path in yard.settings.home.rglob("*") if path.is_file())
    assert HIDDEN.encode() not in stored


@pytest.mark.parametrize(
    ("action", "values", "message"),
    [
        ("createFileConnector", {"bucket": "ftp://x"}, "s3://bucket"),
        ("createFileConnector", {"bucket": "s3://bucket/*.csv"}, "without a pattern"),
        ("createFileConnector", {"bucket": "s3://bucket", "options": {"acces_key": 1}}, "no acces_key"),
        ("createFileConnector", {"bucket": "s3://bucket", "secrets": {"access_key_id": "x"}}, "need both"),
        ("createFileConnector", {"bucket": "s3://bucket", "options": {"endpoint": "http://a/b"}}, "must be a URL"),
        ("createDatabaseConnector", {"name": "n", "service": "MYSQL", "auth": {"host": "h"}}, "lacks database, user"),
        ("createDatabaseConnector", {"name": "n", "service": "ORACLE", "auth": {}}, "must be one of"),
        ("createDatabaseConnector", {"name": " ", "service": "MYSQL", "auth": {}}, "name must have"),
        ("createApplicationConnector", {"name": "n", "auth": {}}, "lacks url"),
        ("createApplicationConnector", {"name": "n", "auth": {"url": "https://user:pw@host/x.git"}}, "without a user"),
        ("createApplicationConnector", {"name": "n", "auth": {"url": "ext::sh -c true"}}, "must be https"),
        ("createApplicationConnector", {"name": "n", "auth": {"url": "--upload-pack=x"}}, "must be https"),
        ("createApplicationConnector", {"name": "n", "auth": {"url": "file:///etc"}}, "must be https"),
        ("createApplicationConnector", {"name": "n", "auth": {"url": "git@-oProxyCommand=x:y"}}, "must be https"),
        ("setAzureBlobConnectionString", {"bucket": "az://box", "connectionString": "x"}, "AccountName"),
        ("setAzureBlobConnectionString", {"bucket": "s3://box", "connectionString": "x"}, "one of Azure"),
        ("createDatasetFromFileConnector", {"tableName": "t", "location": "s3://nobodys/x.csv"}, "no file connector"),
        ("createDatasetFromFileConnector", {"tableName": "t", "location": "https://127.0.0.1/x.csv"}, None),
        ("verifyFileConnector", {"bucket": "s3://nobodys"}, "was not found"),
    ],
)
def test_what_can_not_be_is_said(shared_yard: Yard, action: str, values: dict[str, Any], message: str | None) -> None:
    if message is None:
        dataset = shared_yard.call(action, **values)
        assert dataset["latestDatasetVersion"]["status"] in ("PENDING", "IMPORTING", "FAILED")
        return
    with pytest.raises(CallFailed, match=message):
        shared_yard.call(action, **values)


def test_a_bucket_has_one_connector_and_each_organisation_its_own(shared_yard: Yard) -> None:
    yard, stranger = shared_yard, key_of(shared_yard, Role.ADMIN, elsewhere=True)
    yard.call("createFileConnector", bucket="s3://twice/", secrets=SECRETS)
    with pytest.raises(CallFailed, match="already"):
        yard.call("createFileConnector", bucket="s3://twice", secrets=SECRETS)
    for verb, action in (("DELETE", "deleteFileConnector"), ("POST", "verifyFileConnector")):
        with pytest.raises(CallFailed, match="was not found"):
            yard.call(action, verb, key=stranger, bucket="s3://twice")
    with pytest.raises(CallFailed, match="no file connector"):
        yard.call("createDatasetFromFileConnector", key=stranger, tableName="t", location="s3://twice/x.csv")
    yard.call("createFileConnector", key=stranger, bucket="s3://twice")
    assert [one["bucket"] for one in yard.call("listFileConnectors", "GET", key=stranger)] == ["s3://twice"]
    yard.call("deleteFileConnector", "DELETE", bucket="s3://twice")
    assert yard.call("listFileConnectors", "GET", key=stranger)


def test_only_administrators_add_connectors(shared_yard: Yard) -> None:
    member = key_of(shared_yard, Role.MEMBER)
    for action, values in (
        ("createFileConnector", {"bucket": "s3://bucket"}),
        ("createDatabaseConnector", {"name": "n", "service": "MYSQL", "auth": {}}),
        ("createApplicationConnector", {"name": "n", "auth": {"url": "https://host/x.git"}}),
        ("setAzureBlobConnectionString", {"bucket": "az://box", "connectionString": "x"}),
    ):
        with pytest.raises(CallFailed) as failed:
            shared_yard.call(action, key=member, **values)
        assert failed.value.error_type == "PermissionDeniedError"


def test_the_longest_bucket_that_covers_a_location_opens_it(shared_yard: Yard) -> None:
    from modelyard.connectors.locations import find_place

    with shared_yard.database.write() as session:
        organization = session.query(Organization).order_by(Organization.created_at).first()
        assert organization is not None
    for bucket in ("s3://covered", "s3://covered/inner"):
        shared_yard.call("createFileConnector", bucket=bucket)
    with shared_yard.database.read() as session:

        def found(location: str) -> object:
            return find_place(session, shared_yard.settings, organization.organization_id, location).connector_id

        assert (
            found("s3://covered/inner/x.csv") == found("s3://covered/inner/") != found("s3://covered/innermost/x.csv")
        )


def test_a_repository_tells_its_branches_and_what_went_wrong(shared_yard: Yard) -> None:
    made = shared_yard.call("createApplicationConnector", name="code", auth={"url": "https://127.0.0.1:1/x.git"})
    connector_id = made["applicationConnectorId"]
    assert made["auth"]["branch"] == "main"
    for verb, action in (("POST", "verifyApplicationConnector"), ("GET", "listApplicationConnectorObjects")):
        with pytest.raises(CallFailed, match="loopback"):
            shared_yard.call(action, verb, applicationConnectorId=connector_id)
    auth = shared_yard.call("getConnectorAuth", "GET", applicationConnectorId=connector_id)
    assert (auth["status"], auth["isUserLevel"]) == ("FAILED", False)
    shared_yard.call("renameApplicationConnector", "PATCH", applicationConnectorId=connector_id, name="renamed")
    listed = shared_yard.call("listApplicationConnectors", "GET")
    assert [one["name"] for one in listed if one["applicationConnectorId"] == connector_id] == ["renamed"]
    shared_yard.call("deleteApplicationConnector", "DELETE", applicationConnectorId=connector_id)
    with pytest.raises(CallFailed, match="was not found"):
        shared_yard.call("getConnectorAuth", "GET", applicationConnectorId=connector_id)

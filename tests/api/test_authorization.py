"""Every action of the table, tried by everybody who may not call it. New actions are tried as soon as they exist."""

import pytest
import requests

from modelyard.accounts.first_run import add_organization, add_user
from modelyard.accounts.keys import create_key
from modelyard.accounts.policy import may_call
from modelyard.accounts.records import Organization, Role
from modelyard.actions import Action, Auth
from modelyard.app import all_actions
from modelyard.clock import utc_now
from tests.yard import Yard

ACTIONS = all_actions()
CLOSED = [name for name, action in ACTIONS.items() if action.auth is not Auth.OPEN]
#: The two calls that a client makes before it knows whether its key is good.
OPEN = {"version", "getApiEndpoint"}


@pytest.fixture(scope="module")
def viewer(shared_yard: Yard) -> str:
    """The key of a user who may only look."""
    with shared_yard.database.write() as session:
        organization = session.query(Organization).first()
        assert organization is not None
        user = add_user(session, organization, "Looker", "looker@localhost", utc_now, Role.VIEWER)
        return create_key(session, user.user_id, "test", utc_now())[1]


@pytest.fixture(scope="module")
def stranger(shared_yard: Yard) -> str:
    """The key of another organisation's administrator."""
    with shared_yard.database.write() as session:
        user = add_user(session, add_organization(session, "Others", utc_now), "Other", "other@localhost", utc_now)
        return create_key(session, user.user_id, "test", utc_now())[1]


def try_calling(yard: Yard, action: Action, key: str | None, base: str = "v0/") -> requests.Response:
    """Calls the action with a made-up value for each required parameter."""
    values = {p.wire_name: "0123456789" for p in action.parameters if p.required}
    headers = {} if key is None else {"apiKey": key}
    url = f"{yard.url}/api/{base}{action.name}"
    if action.verb in ("GET", "DELETE"):
        return requests.request(action.verb, url, params=values, headers=headers, timeout=30)
    return requests.request(action.verb, url, json=values, headers=headers, timeout=30)


def test_only_the_two_calls_before_the_key_are_open() -> None:
    assert {name for name, action in ACTIONS.items() if action.auth is Auth.OPEN} == OPEN


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("key", [None, "", "s2_" + "f" * 32])
def test_nobody_gets_in_without_a_good_key(shared_yard: Yard, name: str, key: str | None) -> None:
    answer = try_calling(shared_yard, ACTIONS[name], key)
    assert answer.status_code in (401, 403), answer.text
    assert answer.json()["errorType"] == "GenericPermissionDeniedError"


@pytest.mark.parametrize("name", [name for name, action in ACTIONS.items() if action.proxy])
def test_the_proxy_base_is_as_closed(shared_yard: Yard, name: str) -> None:
    assert try_calling(shared_yard, ACTIONS[name], None, base="").status_code == 403


@pytest.mark.parametrize("name", CLOSED)
def test_a_viewer_calls_what_the_policy_allows_and_nothing_else(shared_yard: Yard, name: str, viewer: str) -> None:
    answer = try_calling(shared_yard, ACTIONS[name], viewer)
    refused = answer.status_code == 403 and answer.json()["errorType"] == "PermissionDeniedError"
    assert refused is not may_call(Role.VIEWER, ACTIONS[name]), answer.text


@pytest.mark.parametrize("path", ["/", "/api", "/api/v0", "/api/v0/", "/admin", "/docs", "/../etc/passwd"])
def test_no_other_path_says_anything(shared_yard: Yard, path: str) -> None:
    answer = requests.get(shared_yard.url + path, timeout=10)
    assert answer.status_code in (404, 405)


def test_a_fresh_house_knows_one_key_and_keeps_it_private(yard: Yard) -> None:
    kept = yard.settings.home / "admin.key"
    assert kept.read_text().strip() == yard.key
    assert kept.stat().st_mode & 0o777 == 0o600
    assert (yard.settings.home / "modelyard.db").stat().st_mode & 0o077 == 0 or (
        yard.settings.home.stat().st_mode & 0o077 == 0
    )

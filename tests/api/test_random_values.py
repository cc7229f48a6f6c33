"""Random values for every parameter of every action: an envelope with a request id each time, and never a 500.

Ids that exist are among the values, so that calls get past the first look-up. The values that are known to break
servers are tried on PostgreSQL, which refuses more than SQLite: NUL characters, halves of surrogate pairs.
"""

import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.accounts.records import Organization
from modelyard.actions import Action
from modelyard.app import all_actions
from modelyard.settings import Settings
from tests.api.everything import (
    Everything,
    make_everything,
    meaning_of,
    names_an_object,
    valid_values,
)
from tests.yard import Yard

pytestmark = pytest.mark.xdist_group("random values")

ACTIONS = all_actions()
EXAMPLES = 6
#: These wait for what an agent would make; the last may revoke the key that the tests call with.
LEFT_OUT = {
    "_getFeatureGroupVersionParts",
    "_getExecuteFeatureGroupOperationResultParts",
    "getFeatureGroupVersionMetrics",
    "deleteApiKey",
}
#: Those that take the ground from under the others come last.
NAMES = sorted(ACTIONS.keys() - LEFT_OUT, key=lambda name: (name.startswith(("cancel", "delete")), name))
#: What breaks servers: given to every parameter in turn, all others being well.
NASTY: list[Any] = [2**70, -1, "\x00", "\ud800", "x" * 5000, [], ["\ud800"], {"\x00": [None]}]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 1e308, -0.0, 0.5])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["", " ", "\x00", "a\x00b", "\ud800", "../../etc/passwd", "%252e%252e/", "'; --", "0", "1e9",
                       "true", "[", "{}", "[1]", "NaN", "@daily", "* * * * *", "MODEL", "SELECT 1", "x" * 5000])
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def house() -> Iterator[Everything]:
    """Objects of every kind, in a house without an agent."""
    yield from furnished("")


@pytest.fixture(scope="module")
def house_on_postgresql(module_postgresql: str) -> Iterator[Everything]:
    """The same, on a PostgreSQL database."""
    yield from furnished(module_postgresql)


def furnished(url: str) -> Iterator[Everything]:
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/tmp"))
    with Yard(Settings.load({}, home=folder, port=0, database_url=url), with_agent=False) as yard:
        with yard.database.read() as session:
            organization_id = session.scalars(sa.select(Organization.organization_id)).one()
        yield make_everything(yard, organization_id, "mine")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def module_postgresql(postgresql: sa.URL) -> Iterator[str]:
    """A PostgreSQL database for all tests of this module."""
    name = f"random_{uuid.uuid4().hex}"
    engine = sa.create_engine(postgresql, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    yield postgresql.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


def values_for(action: Action, house: Everything) -> st.SearchStrategy[dict[str, Any]]:
    """For each parameter: left out, anything at all, or what would do."""
    each: dict[str, st.SearchStrategy[Any]] = {}
    good = valid_values(action, house)
    for parameter in action.parameters:
        name = parameter.wire_name
        choices = [VALUES]
        if name in good:
            choices += [st.just(good[name])] * 2
        elif names_an_object(parameter) and (means := meaning_of(action, parameter)):
            choices.append(st.just(means(house)))
        each[name] = st.one_of(*choices)
    required = {name: strategy for name, strategy in each.items() if name in good}
    optional = {name: strategy for name, strategy in each.items() if name not in good}
    return st.fixed_dictionaries(required, optional=optional)


def send(house: Everything, action: Action, values: dict[str, Any], session: requests.Session) -> requests.Response:
    """By JSON where there is a body, else in the query, as the official client does."""
    url, headers = f"{house.yard.url}/api/v0/{action.name}", {"apiKey": house.yard.key}
    if action.verb in ("GET", "DELETE"):
        texts = {name: as_text(value) for name, value in values.items() if value is not None}
        return session.request(action.verb, url, params=texts, headers=headers, timeout=30)
    return session.request(action.verb, url, data=json.dumps(values), headers=headers, timeout=30)


def as_text(value: object) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


def check(answer: requests.Response, values: dict[str, Any]) -> None:
    assert answer.status_code < 500, f"{values}: {answer.text}"
    assert answer.headers["x-request-id"]
    if answer.headers["content-type"] == "application/json":
        body = answer.json()
        assert body["requestId"] == answer.headers["x-request-id"]
        assert body["success"] is (answer.status_code == 200)
        assert body["success"] or (body["error"] and body["errorType"])


@pytest.mark.parametrize("name", NAMES)
def test_no_nasty_value_breaks_an_action(house_on_postgresql: Everything, name: str) -> None:
    house = house_on_postgresql
    action, session = ACTIONS[name], requests.Session()
    good, failed = valid_values(action, house), []
    for parameter in action.parameters:
        for nasty in NASTY:
            values = good | {parameter.wire_name: nasty}
            try:
                check(send(house, action, values, session), {parameter.wire_name: str(nasty)[:20]})
            except AssertionError as error:
                failed.append(str(error).splitlines()[0])
    session.close()
    assert not failed


@pytest.mark.parametrize("name", NAMES)
def test_no_random_values_break_an_action(house: Everything, name: str) -> None:
    action, session = ACTIONS[name], requests.Session()

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )  # fmt: skip
    @given(values_for(action, house))
    def is_answered(values: dict[str, Any]) -> None:
        check(send(house, action, values, session), values)

    is_answered()
    session.close()

"""`modelyard connectors`: connectors of the house, for who has the home and so needs no key to add one.

Secrets are read from standard input or from variables of the environment, never from the command line, which every user
of the machine can read. What is added here is the operator's: its own host may be one that is closed to others.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.accounts.records import Organization
from modelyard.app import House
from modelyard.cli.failure import CommandFailed
from modelyard.cli.opening import opened_house
from modelyard.cli.options import Home
from modelyard.clock import iso
from modelyard.connectors import adding
from modelyard.connectors.adding import Adding
from modelyard.connectors.databases import find_database
from modelyard.connectors.locations import find_place
from modelyard.connectors.looking import failure_of, look_at_bucket, look_at_database, look_at_repository
from modelyard.connectors.records import (
    ApplicationConnector,
    ConnectorStatus,
    DatabaseConnector,
    DatabaseService,
    FileConnector,
)
from modelyard.connectors.repositories import find_repository
from modelyard.connectors.uses import check_unused
from modelyard.ids import OrganizationId

connectors = App(name="connectors")
add = App(name="add", help="Add a connector: `file`, `database` or `git`.")
connectors.command(add)

Record = FileConnector | DatabaseConnector | ApplicationConnector
Set = Annotated[
    tuple[str, ...], Parameter(name="--set", help="What is no secret, as name=value: --set region=eu-central-1.")
]
Secret = Annotated[
    tuple[str, ...],
    Parameter(name="--secret-env", help="A secret, as name=VARIABLE: --secret-env password=PGPASSWORD."),
]
FromStdin = Annotated[
    bool, Parameter(name="--secrets-stdin", negative="", help="Read the secrets from standard input, as a JSON object.")
]
Which = Annotated[str, Parameter(help="The connector's id, or a file connector's bucket.")]


@add.command(name="file")
def add_file(
    bucket: Annotated[str, Parameter(help="s3://bucket, gs://bucket or az://container, or a folder of one.")],
    *,
    options: Set = (),
    secret: Secret = (),
    secrets_stdin: FromStdin = False,
    home: Home = None,
) -> None:
    """Add a connector to a bucket. Without secrets the bucket is read as anybody may."""
    with _adding(home) as start:
        made = adding.add_file_connector(start, bucket, _pairs(options), _secrets(secret, secrets_stdin))
        print(made.file_connector_id)


@add.command(name="database")
def add_database(
    service: DatabaseService,
    name: Annotated[str, Parameter(help="A name for it.")],
    *,
    auth: Set = (),
    secret: Secret = (),
    secrets_stdin: FromStdin = False,
    home: Home = None,
) -> None:
    """Add a connector to a database: --set host=db.example.com --set database=shop --set user=reader."""
    with _adding(home) as start:
        made = adding.add_database_connector(start, name, service, _pairs(auth), _secrets(secret, secrets_stdin))
        print(made.database_connector_id)


@add.command(name="git")
def add_git(
    url: Annotated[str, Parameter(help="https://host/path.git or git@host:path.git")],
    name: Annotated[str, Parameter(help="A name for it.")],
    *,
    auth: Set = (),
    secret: Secret = (),
    secrets_stdin: FromStdin = False,
    home: Home = None,
) -> None:
    """Add a connector to a git repository; its secrets are a token or an ssh_key, its branch is main."""
    with _adding(home) as start:
        values = {"url": url, **_pairs(auth)}
        print(
            adding.add_application_connector(
                start, name, values, _secrets(secret, secrets_stdin)
            ).application_connector_id
        )


@connectors.command(name="list")
def list_(*, home: Home = None) -> None:
    """List the connectors; their secrets are not shown to anybody."""
    table = Table("id", "kind", "name", "state", "made", box=None, pad_edge=False, header_style="bold")
    with opened_house(home, announced=False) as house, house.database.read() as session:
        for record in _all(session):
            table.add_row(_id(record), *_described(record), iso(record.created_at) or "")
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@connectors.command
def verify(connector: Which, *, home: Home = None) -> None:
    """Try a connector, and say what is wrong with it."""
    with opened_house(home, announced=False) as house:
        with house.database.read() as session:
            record = _find(session, connector)
            look = _look(session, house, record)
        failure = failure_of(look)
        with house.database.write() as session:
            _note(_find(session, connector), works=failure is None)
        if failure is not None:
            raise failure
    print("it works")


@connectors.command
def remove(connector: Which, *, home: Home = None) -> None:
    """Delete a connector with its secrets, unless something is read through it."""
    with opened_house(home, announced=False) as house, house.database.write() as session:
        record = _find(session, connector)
        check_unused(session, _id(record), f"The connector {_described(record)[1]}")
        session.delete(record)
    print("removed")


@contextmanager
def _adding(home: Home) -> Iterator[Adding]:
    with opened_house(home, announced=False) as house, house.database.write() as session:
        organization = session.scalars(select(Organization).order_by(Organization.created_at)).first()
        assert organization is not None, "an opened house has one"
        yield Adding(session, house.settings, organization.organization_id, house.clock(), is_operators=True)


def _pairs(given: tuple[str, ...]) -> dict[str, Any]:
    pairs = dict(each.partition("=")[::2] for each in given)
    if "" in pairs or any("=" not in each for each in given):
        raise CommandFailed("--set takes name=value")
    return pairs


def _secrets(given: tuple[str, ...], from_stdin: bool) -> dict[str, str]:
    """The secrets, from where nobody else sees them."""
    found: dict[str, str] = {}
    for name, _, variable in (each.partition("=") for each in given):
        value = os.environ.get(variable)
        if not value:
            raise CommandFailed(
                f"the environment has no variable {variable or '(name it: --secret-env name=VARIABLE)'}"
            )
        found[name] = value
    if from_stdin:
        try:
            read = json.load(sys.stdin)
        except ValueError:
            raise CommandFailed('standard input is no JSON object such as {"password": "..."}') from None
        if not isinstance(read, dict) or not all(isinstance(value, str) for value in read.values()):
            raise CommandFailed('standard input must be a JSON object of texts, such as {"password": "..."}')
        found |= read
    return found


def _all(session: Session) -> list[Record]:
    return [
        *session.scalars(select(FileConnector).order_by(FileConnector.created_at)),
        *session.scalars(select(DatabaseConnector).order_by(DatabaseConnector.created_at)),
        *session.scalars(select(ApplicationConnector).order_by(ApplicationConnector.created_at)),
    ]


def _find(session: Session, which: str) -> Record:
    found = [one for one in _all(session) if which in (_id(one), getattr(one, "bucket", None))]
    if len(found) != 1:
        what = "several connectors are" if found else "there is no connector"
        raise CommandFailed(f"{what} {which}; see `modelyard connectors list`")
    return found[0]


def _look(session: Session, house: House, record: Record) -> Any:
    """What tries the connector, with all that it needs at hand."""
    organization: OrganizationId = record.organization_id
    if isinstance(record, FileConnector):
        place = find_place(session, house.settings, organization, f"{record.bucket}/")
        return lambda: look_at_bucket(place)
    if isinstance(record, DatabaseConnector):
        database = find_database(session, house.settings, organization, record.database_connector_id)
        return lambda: look_at_database(database)
    repository = find_repository(session, house.settings, organization, record.application_connector_id)
    return lambda: look_at_repository(repository)


def _note(record: Record, *, works: bool) -> None:
    if isinstance(record, FileConnector):
        record.verified = works
    else:
        record.status = ConnectorStatus.ACTIVE if works else ConnectorStatus.FAILED


def _id(record: Record) -> str:
    if isinstance(record, FileConnector):
        return record.file_connector_id
    if isinstance(record, DatabaseConnector):
        return record.database_connector_id
    return record.application_connector_id


def _described(record: Record) -> tuple[str, str, str]:
    """Kind, name and state."""
    if isinstance(record, FileConnector):
        return str(record.store), record.bucket, "verified" if record.verified else "not verified"
    return str(record.service), record.name, str(record.status).lower()

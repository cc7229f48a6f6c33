"""`modelyard keys`: API keys, for who has the home and so needs no key to make one."""

import sys
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.accounts.first_run import add_user
from modelyard.accounts.keys import create_key, list_keys, revoke_key
from modelyard.accounts.records import Organization, Role, User
from modelyard.app import House
from modelyard.cli.failure import CommandFailed
from modelyard.cli.opening import opened_house
from modelyard.cli.options import Home
from modelyard.clock import iso
from modelyard.ids import ApiKeyId

keys = App(name="keys")


@keys.command
def create(
    *,
    user: Annotated[str, Parameter(help="E-mail address of the user that the key stands for.")] = "admin@localhost",
    role: Annotated[Role | None, Parameter(help="Role of a user who does not exist yet, who is then made.")] = None,
    tag: Annotated[str, Parameter(help="What the key is for; shown in lists.")] = "",
    home: Home = None,
) -> None:
    """Make a key and print it. It is kept as a digest only, so this is the one time that it can be seen."""
    with opened_house(home) as house, house.database.write() as session:
        owner = _find_or_add_user(session, house, user, role)
        key_id, key = create_key(session, owner.user_id, tag, house.clock())
    print(key)
    print(f"key {key_id} for {user} ({Role(owner.role).lower()})", file=sys.stderr)


@keys.command(name="list")
def list_(*, home: Home = None) -> None:
    """List the keys in force: whose they are and how they end, not what they are."""
    table = Table("id", "ends in", "user", "role", "tag", "made", box=None, pad_edge=False, header_style="bold")
    with opened_house(home) as house, house.database.read() as session:
        for organization in session.scalars(select(Organization).order_by(Organization.created_at)):
            for key in list_keys(session, organization.organization_id):
                owner = session.get_one(User, key.user_id)
                made = iso(key.created_at) or ""
                table.add_row(key.api_key_id, key.suffix, owner.email, Role(owner.role).lower(), key.tag, made)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@keys.command
def revoke(
    key_id: Annotated[str, Parameter(help="The key's id, or its last four characters where these are unambiguous.")],
    *,
    home: Home = None,
) -> None:
    """End a key for good. A running server refuses it within a second."""
    with opened_house(home) as house, house.database.write() as session:
        organizations = list(session.scalars(select(Organization.organization_id)))
        found = [
            (organization, key)
            for organization in organizations
            for key in list_keys(session, organization)
            if key_id in (key.api_key_id, key.suffix)
        ]
        if len(found) != 1:
            what = "no key in force has" if not found else "several keys have"
            raise CommandFailed(f"{what} the id or ending {key_id}; see `modelyard keys list`")
        organization, key = found[0]
        revoke_key(session, organization, ApiKeyId(key.api_key_id), house.clock())
    print(f"key {key.api_key_id} is revoked")


def _find_or_add_user(session: Session, house: House, email: str, role: Role | None) -> User:
    user = session.scalar(select(User).where(User.email == email))
    if user is not None:
        if role is not None and role != user.role:
            raise CommandFailed(f"{email} exists already, with the role {Role(user.role).lower()}; name another --user")
        return user
    if role is None:
        raise CommandFailed(f"there is no user {email}; name a --role to make one (admin, member or viewer)")
    organization = session.scalars(select(Organization).order_by(Organization.created_at)).first()
    assert organization is not None, "an opened house has one"
    return add_user(session, organization, email.partition("@")[0], email, house.clock, role)

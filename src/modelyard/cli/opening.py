"""The house as a command opens it that works without a server, or beside one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from modelyard import app as house_plan
from modelyard.accounts.first_run import KEY_FILE
from modelyard.app import House
from modelyard.cli.options import Home, load_settings


@contextmanager
def opened_house(home: Home, *, announced: bool = True) -> Iterator[House]:
    """The house of that home, closed afterwards; says so, if `announced`, where it is a new one."""
    house = house_plan.open_house(load_settings(home=home))
    if announced and house.first_key is not None:
        print(f"a new home; its first key is in {house.settings.home / KEY_FILE}", file=sys.stderr)
    try:
        yield house
    finally:
        house.database.close()

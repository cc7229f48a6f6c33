"""Puts the house together: settings, then the floor, then the slices. `SLICES` is the table of contents.

A gateway process and an agent process each open the same house and take what they need of it: `gateway` gives the ASGI
application, `agent` the loop that works runs. What one slice has to tell another without knowing it is bound here.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp

from modelyard.accounts.first_run import prepare_accounts
from modelyard.actions import Action, collect
from modelyard.api.application import build_application
from modelyard.api.door import Door
from modelyard.api.lane import Lane
from modelyard.clock import Clock, utc_now
from modelyard.container import Container
from modelyard.database import Database
from modelyard.deployments.routing import Routing
from modelyard.environments import Environments
from modelyard.execution import RunKind
from modelyard.execution.agent import Agent
from modelyard.execution.queue import has_living_agent
from modelyard.refresh.scheduler import Scheduler
from modelyard.sandbox import Sandbox
from modelyard.settings import Settings
from modelyard.source_code.check import Checker
from modelyard.storage import BlobStore

SLICES = (
    "accounts",
    "projects",
    "refresh",
    "datasets",
    "feature_groups",
    "models",
    "deployments",
    "batch_predictions",
)


@dataclass(frozen=True, slots=True)
class House:
    """One opened house: its database is migrated, its first key exists."""

    settings: Settings
    database: Database
    clock: Clock
    actions: dict[str, Action]
    kinds: dict[str, RunKind]
    #: The first API key, if this start was the first; else None.
    first_key: str | None


def open_house(settings: Settings, clock: Clock = utc_now) -> House:
    """Opens the house under `settings.home`, bringing its database to the newest schema."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings.url)
    database.migrate()
    first_key = prepare_accounts(database, settings, clock)
    return House(settings, database, clock, all_actions(), all_kinds(), first_key)


def all_actions() -> dict[str, Action]:
    """Every action of every slice, by name."""
    return collect(_modules("actions"))


def all_kinds() -> dict[str, RunKind]:
    """Every kind of run of every slice, by name."""
    return {kind.name: kind for module in _modules("runs") for kind in module.KINDS}


def gateway(house: House, parts: Container | None = None) -> ASGIApp:
    """The ASGI application of a gateway process. Who has to close the parts afterwards hands them in."""
    parts = parts or gateway_parts(house)
    door = Door(house.actions, house.database, parts, house.settings, house.clock)
    application = build_application(door, house.actions, lambda: _problems(house))
    return Lane(application, Routing(house.database), house.database, house.settings)


def agent(house: House, parts: Container | None = None) -> Agent:
    """The agent of an agent process, not started yet. Who has to close the parts afterwards hands them in."""
    scheduler = Scheduler(house.database, house.clock)
    parts = parts or agent_parts(house)
    return Agent(house.database, house.kinds, parts, house.settings, house.clock, (scheduler,))


def gateway_parts(house: House) -> Container:
    """What actions may ask for."""
    parts = Container()
    parts.add(house.settings)
    parts.add(house.database)
    parts.add(BlobStore(house.settings.home / "blobs"))
    parts.add(Checker(house.settings))
    _bind_events(parts)
    return parts


def agent_parts(house: House) -> Container:
    """What runs may ask for."""
    parts = Container()
    parts.add(house.settings)
    parts.add(BlobStore(house.settings.home / "blobs"))
    parts.add(Checker(house.settings))
    sandbox = parts.add(Sandbox(house.settings))
    parts.add(Environments(house.settings, sandbox))
    _bind_events(parts)
    return parts


def _bind_events(parts: Container) -> None:
    for slice_name in SLICES:
        try:
            module = importlib.import_module(f"modelyard.{slice_name}.binding")
        except ModuleNotFoundError:
            continue
        module.bind(parts)


def _problems(house: House) -> list[str]:
    try:
        with house.database.read() as session:
            alive = has_living_agent(session, house.clock())
    except SQLAlchemyError:
        return ["the database does not answer"]
    return [] if alive else ["no agent is running: trainings and deployments wait"]


def _modules(name: str) -> Iterable[ModuleType]:
    for slice_name in SLICES:
        try:
            yield importlib.import_module(f"modelyard.{slice_name}.{name}")
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("modelyard."):
                raise

"""Puts the house together: settings, then the floor, then the slices. `SLICES` is the table of contents.

A gateway process and an agent process each open the same house and take what they need of it: `gateway` gives the ASGI
application, `agent` the loop that works runs. What one slice has to tell another without knowing it is bound here.
"""

import os
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp

from modelyard.accounts import actions as accounts_actions
from modelyard.accounts.first_run import prepare_accounts
from modelyard.actions import Action, collect
from modelyard.api.application import build_application
from modelyard.api.door import Door
from modelyard.api.keyring import Keyring
from modelyard.api.lane import Lane
from modelyard.api.metrics import Metrics
from modelyard.batch_predictions import actions as batch_predictions_actions
from modelyard.batch_predictions import binding as batch_predictions_binding
from modelyard.batch_predictions import runs as batch_predictions_runs
from modelyard.clock import Clock, utc_now
from modelyard.connectors import actions as connectors_actions
from modelyard.container import Container
from modelyard.database import Database
from modelyard.datasets import actions as datasets_actions
from modelyard.datasets import binding as datasets_binding
from modelyard.datasets import runs as datasets_runs
from modelyard.datasets import streaming_actions as datasets_streaming_actions
from modelyard.datasets import version_actions as datasets_version_actions
from modelyard.deployments import actions as deployments_actions
from modelyard.deployments import binding as deployments_binding
from modelyard.deployments import export_actions as deployments_export_actions
from modelyard.deployments import lookup_actions as deployments_lookup_actions
from modelyard.deployments import option_actions as deployments_option_actions
from modelyard.deployments import runs as deployments_runs
from modelyard.deployments import token_actions as deployments_token_actions
from modelyard.deployments.calls.routing import Routing
from modelyard.deployments.rollouts import actions as deployments_rollout_actions
from modelyard.environments import Environments
from modelyard.execution import RunKind
from modelyard.execution.agent import Agent
from modelyard.execution.events import RunEvents
from modelyard.execution.queue import has_living_agent
from modelyard.feature_groups import actions as feature_groups_actions
from modelyard.feature_groups import binding as feature_groups_binding
from modelyard.feature_groups import lock_actions as feature_groups_lock_actions
from modelyard.feature_groups import runs as feature_groups_runs
from modelyard.feature_groups import tag_actions as feature_groups_tag_actions
from modelyard.feature_groups import version_actions as feature_groups_version_actions
from modelyard.feature_groups.exports import actions as feature_groups_export_actions
from modelyard.feature_groups.functions import actions as feature_groups_function_actions
from modelyard.feature_groups.in_projects import actions as feature_groups_project_actions
from modelyard.feature_groups.online import actions as feature_groups_online_actions
from modelyard.feature_groups.online.targets import OnlineTargets
from modelyard.feature_groups.queries import actions as feature_groups_feature_actions
from modelyard.feature_groups.recipes import actions as feature_groups_derived_actions
from modelyard.models import actions as models_actions
from modelyard.models import algorithm_actions as models_algorithm_actions
from modelyard.models import binding as models_binding
from modelyard.models import import_actions as models_import_actions
from modelyard.models import lineage_actions as models_lineage_actions
from modelyard.models import metric_actions as models_metric_actions
from modelyard.models import runs as models_runs
from modelyard.models import training_actions as models_training_actions
from modelyard.models.code import actions as models_code_actions
from modelyard.models.dry_runs import actions as models_validation_actions
from modelyard.models.exports import actions as models_export_actions
from modelyard.models.history import actions as models_revision_actions
from modelyard.models.importance import actions as models_importance_actions
from modelyard.models.reproduction import actions as models_version_actions
from modelyard.observability import actions as observability_actions
from modelyard.observability import binding as observability_binding
from modelyard.observability.exposition import Exposition
from modelyard.observability.interfaces import actions as observability_interface_actions
from modelyard.observability.interfaces import rows as observability_runs
from modelyard.observability.logbook import Logbook
from modelyard.observability.siblings import Siblings
from modelyard.observability.traces import find_tracing, traced_kinds
from modelyard.online_rows import actions as online_rows_actions
from modelyard.online_rows.retention import sweeper
from modelyard.online_rows.tokens import StreamingTokens
from modelyard.online_rows.writing import RowWriter
from modelyard.projects import actions as projects_actions
from modelyard.refresh import actions as refresh_actions
from modelyard.refresh import binding as refresh_binding
from modelyard.refresh import runs as refresh_runs
from modelyard.refresh.scheduler import scheduler
from modelyard.sandbox import Sandbox
from modelyard.settings import Settings
from modelyard.source_code import actions as source_code_actions
from modelyard.source_code.check import Checker
from modelyard.storage import BlobStore
from modelyard.upkeep import actions as upkeep_actions
from modelyard.upkeep import runs as upkeep_runs
from modelyard.upkeep.janitor import janitor


class Slice(NamedTuple):
    """What a slice brings into the house; what it has no need of is absent."""

    #: Its verbs, in as many files as they need.
    actions: tuple[ModuleType, ...]
    #: What an agent may be asked to do for it, as `KINDS`.
    runs: ModuleType | None = None
    #: What it adds to the parts, and what it binds to the slices below it, as `bind(parts)`.
    binding: ModuleType | None = None


#: The table of contents, from the lowest slice up: each may listen to those before it.
SLICES = (
    Slice((accounts_actions,)),
    Slice((projects_actions,)),
    Slice((refresh_actions,), refresh_runs, refresh_binding),
    Slice((connectors_actions,)),
    Slice((source_code_actions,)),
    Slice((online_rows_actions,)),
    Slice((datasets_actions, datasets_streaming_actions, datasets_version_actions), datasets_runs, datasets_binding),
    Slice(
        (
            feature_groups_actions,
            feature_groups_derived_actions,
            feature_groups_export_actions,
            feature_groups_feature_actions,
            feature_groups_function_actions,
            feature_groups_lock_actions,
            feature_groups_online_actions,
            feature_groups_project_actions,
            feature_groups_tag_actions,
            feature_groups_version_actions,
        ),
        feature_groups_runs,
        feature_groups_binding,
    ),
    Slice(
        (
            models_actions,
            models_algorithm_actions,
            models_code_actions,
            models_export_actions,
            models_import_actions,
            models_lineage_actions,
            models_metric_actions,
            models_importance_actions,
            models_revision_actions,
            models_training_actions,
            models_validation_actions,
            models_version_actions,
        ),
        models_runs,
        models_binding,
    ),
    Slice(
        (
            deployments_actions,
            deployments_lookup_actions,
            deployments_option_actions,
            deployments_export_actions,
            deployments_rollout_actions,
            deployments_token_actions,
        ),
        deployments_runs,
        deployments_binding,
    ),
    Slice((observability_actions, observability_interface_actions), observability_runs, observability_binding),
    Slice((batch_predictions_actions,), batch_predictions_runs, batch_predictions_binding),
    Slice((upkeep_actions,), upkeep_runs),
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


def open_house(settings: Settings, clock: Clock = utc_now, *, patience_s: float = 0) -> House:
    """Opens the house under `settings.home`, bringing its database to the newest schema.

    A database that does not answer is waited for up to `patience_s`.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings.url)
    database.wait(patience_s)
    database.migrate()
    first_key = prepare_accounts(database, settings, clock)
    return House(settings, database, clock, all_actions(), all_kinds(), first_key)


def all_actions() -> dict[str, Action]:
    """Every action of every slice, by name."""
    return collect(module for entry in SLICES for module in entry.actions)


def all_kinds() -> dict[str, RunKind]:
    """Every kind of run of every slice, by name."""
    return {kind.name: kind for entry in SLICES if entry.runs for kind in entry.runs.KINDS}


def gateway(house: House, parts: Container | None = None) -> ASGIApp:
    """The ASGI application of a gateway process. Who has to close the parts afterwards hands them in."""
    parts = parts or gateway_parts(house)
    door = Door(house.actions, house.database, parts, house.settings, house.clock)
    logbook, siblings = parts.get(Logbook), parts.get(Siblings)
    exposition = Exposition(house.database, house.clock, siblings)
    metrics = Metrics(exposition, Keyring(house.database), house.settings)
    application = build_application(door, house.actions, lambda: _problems(house), metrics)
    routing, tracing = Routing(house.database, house.settings.home), find_tracing(os.environ)
    return Lane(application, routing, house.database, house.settings, logbook, siblings, tracing)


def agent(house: House, parts: Container | None = None) -> Agent:
    """The agent of an agent process, not started yet. Who has to close the parts afterwards hands them in."""
    parts = parts or agent_parts(house)
    companions = (
        scheduler(house.database, house.clock),
        sweeper(house.database, house.clock),
        janitor(house.database, parts, house.settings, house.clock, upkeep_actions.LASTING),
    )
    events, tracing = parts.get(RunEvents), find_tracing(os.environ)
    kinds = house.kinds
    if tracing is not None:
        parts.add(tracing)  # closed with the others
        kinds = traced_kinds(kinds, tracing)
    return Agent(house.database, kinds, parts, house.settings, house.clock, companions, events)


def gateway_parts(house: House) -> Container:
    """What actions may ask for."""
    parts = Container()
    parts.add(house.settings)
    parts.add(house.database)
    parts.add(BlobStore(house.settings.home / "blobs"))
    parts.add(Checker(house.settings))
    parts.add(RowWriter(house.database, house.clock))
    parts.add(StreamingTokens(house.database))
    parts.add(OnlineTargets(house.database))
    logbook = parts.add(Logbook(house.database, house.settings, house.clock))
    parts.add(Siblings(house.settings, logbook))
    _bind(parts)
    return parts


def agent_parts(house: House) -> Container:
    """What runs may ask for."""
    parts = Container()
    parts.add(house.settings)
    parts.add(BlobStore(house.settings.home / "blobs"))
    parts.add(Checker(house.settings))
    sandbox = parts.add(Sandbox(house.settings))
    parts.add(Environments(house.settings, sandbox))
    _bind(parts)
    return parts


def _bind(parts: Container) -> None:
    parts.add(RunEvents())
    for entry in SLICES:
        if entry.binding:
            entry.binding.bind(parts)


def _problems(house: House) -> list[str]:
    try:
        with house.database.read() as session:
            alive = has_living_agent(session, house.clock())
    except SQLAlchemyError:
        return ["the database does not answer"]
    return [] if alive else ["no agent is running: trainings and deployments wait"]

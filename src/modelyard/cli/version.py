"""`modelyard version`: the platform's own version; and what a model's version is, how two differ, and making one again.

For who has the home and so needs no key. `reproduce` puts a run on the table, which an agent of the home does.
"""

import sys
import time
from collections.abc import Iterator
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from sqlalchemy import select
from sqlalchemy.orm import Session

import modelyard
from modelyard.app import House
from modelyard.cli.failure import CommandFailed
from modelyard.cli.opening import opened_house
from modelyard.cli.options import Home
from modelyard.clock import utc_now
from modelyard.environments import EnvironmentFailure
from modelyard.environments.lock import parse_lock
from modelyard.ids import ModelVersionId
from modelyard.models.describe import describe_version
from modelyard.models.records import ENDED, Model, ModelVersion
from modelyard.models.reproduction.comparing import compare_versions
from modelyard.models.reproduction.reproducing import reproduce as put_on_table
from modelyard.models.reproduction.wire import VersionEnvironmentShape
from modelyard.models.wire import ModelVersionShape

version = App(name="version")
Which = Annotated[str, Parameter(help="The id of a model's version.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for programs.")]
#: Seconds between two looks at a training.
POLL_S = 0.5


@version.default
def own() -> None:
    """Print the platform's own version."""
    print(modelyard.__version__)


@version.command
def show(model_version: Which, *, json: AsJson = False, home: Home = None) -> None:
    """Show the five exact things that a version is made from, and what came out."""
    with opened_house(home) as house, house.database.read() as session:
        record = _find(session, model_version)
        described = describe_version(session, record, utc_now())
        if json:
            print(_json(described))
            return
        print("\n".join(_lines(session, record, described)))


@version.command
def diff(
    model_version: Which,
    base: Annotated[str | None, Parameter(help="The older side; without one, the version before it.")] = None,
    *,
    json: AsJson = False,
    home: Home = None,
) -> None:
    """Show what differs between two versions: source, packages, rows, config, runtime, metrics."""
    with opened_house(home) as house, house.database.read() as session:
        after = _find(session, model_version)
        before = _find(session, base) if base is not None else _before(session, after)
        found = compare_versions(session, before, after)
    print(_json(found) if json else found.text, end="\n" if json else "")


@version.command
def reproduce(
    model_version: Which,
    *,
    wait: Annotated[
        bool, Parameter(help="Wait for the end of the training; the exit status is 1 if not the same came out.")
    ] = True,
    json: AsJson = False,
    home: Home = None,
) -> int:
    """Train a version again from exactly what it was made from, and tell whether the same comes out."""
    with opened_house(home) as house:
        with house.database.write() as session:
            again = put_on_table(session, house.settings, _find(session, model_version), None).model_version
        print(f"version {again} reproduces {model_version}", file=sys.stderr)
        ended = _await(house, again) if wait else _look(house, again)
    if json:
        print(_json(ended))
    elif ended.reproduction is not None:
        print(ended.reproduction.text, end="")
    elif ended.error is not None:
        raise CommandFailed(f"the training failed: {ended.error}")
    return 0 if not wait or (ended.reproduction is not None and ended.reproduction.is_same) else 1


def _await(house: House, model_version: ModelVersionId) -> ModelVersionShape:
    told = None
    while (found := _look(house, model_version)).status not in ENDED:
        state = f"{found.status.lower()}" + (f": waits for {found.waiting_for}" if found.waiting_for else "")
        if state != told:
            print(state, file=sys.stderr)
            told = state
        time.sleep(POLL_S)
    return found


def _look(house: House, model_version: ModelVersionId) -> ModelVersionShape:
    with house.database.read() as session:
        return describe_version(session, _find(session, model_version), utc_now())


def _find(session: Session, model_version: str) -> ModelVersion:
    found = session.get(ModelVersion, ModelVersionId(model_version))
    if found is None:
        raise CommandFailed(f"there is no model version {model_version}")
    return found


def _before(session: Session, record: ModelVersion) -> ModelVersion:
    mine = (ModelVersion.model_id == record.model_id, ModelVersion.number < record.number)
    found = session.scalars(select(ModelVersion).where(*mine).order_by(ModelVersion.number.desc()).limit(1)).first()
    if found is None:
        raise CommandFailed(f"version {record.model_version} is its model's first; name another to compare it with")
    return found


def _lines(session: Session, record: ModelVersion, described: ModelVersionShape) -> list[str]:
    model = session.get_one(Model, record.model_id)
    of = f"of model {model.name} ({model.model_id})"
    shown, former = [f"version {record.number} ({record.model_version}) {of}: {record.status}"], ""
    for name, value in [*_made_from(described), *_result(record, described)]:
        shown.append(f"  {'' if name == former else name:12} {value}")
        former = name
    return shown


def _made_from(described: ModelVersionShape) -> Iterator[tuple[str, str]]:
    made = described.made_from
    revision, environment, config = made.revision, made.environment, made.config
    yield "revision", f"{revision.number} ({revision.model_revision}), source sha256 {revision.source_digest}"
    for name, digest in revision.modules.items():
        yield "module", f"{name}, sha256 {digest}"
    yield from _packages(environment)
    for table in made.tables:
        yield "table", f"{table.table_name}, version {table.feature_group_version or '-'}"
    yield "config", msgspec.json.encode(config.training_config).decode()
    yield "seed", f"{config.seed} ({'of the config' if config.seed_from == 'CONFIG' else 'chosen'})"
    yield "size", f"cpuSize {described.cpu_size or '-'}, memory {described.memory or '-'}"
    for name, value in (made.runtime or {}).items():
        yield "runtime", f"{name} {value}"


def _packages(environment: VersionEnvironmentShape) -> Iterator[tuple[str, str]]:
    name = environment.environment_id or "-"
    try:
        packages = parse_lock(environment.lock or "").packages
    except EnvironmentFailure as error:
        yield "environment", f"{name}: {error}"
        yield from (("lock", line) for line in (environment.lock or "").splitlines())
        return
    yield "environment", f"{name}, {len(packages)} packages"
    for each in packages:
        yield "package", f"{each.name}=={each.version}, {len(each.hashes)} hashes"


def _result(record: ModelVersion, described: ModelVersionShape) -> Iterator[tuple[str, str]]:
    yield "trained", f"{described.training_started_at or '-'} to {described.training_completed_at or '-'}"
    for name, value in (record.metrics or {}).items():
        yield "metric", f"{name} {value:g}"
    if record.artifact_digest:
        yield "artifact", f"sha256 {record.artifact_digest}, {record.artifact_size} bytes"
    if described.error:
        yield "error", described.error
    if described.reproduction_of:
        yield "reproduces", described.reproduction_of
    if described.reproduction:
        yield from (("result", line) for line in described.reproduction.text.splitlines())


def _json(shape: msgspec.Struct) -> str:
    return msgspec.json.format(msgspec.json.encode(shape), indent=2).decode()

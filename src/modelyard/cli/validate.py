"""`modelyard validate model.py`: a dry run of a source, by an agent of the home, stage by stage as it goes.

For who has the home and so needs no key. The exit status is 1 if a stage is not passed.
"""

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from sqlalchemy import select

from modelyard.accounts.records import Organization, User
from modelyard.actions import Call, Principal
from modelyard.app import House
from modelyard.cli.failure import CommandFailed
from modelyard.cli.opening import opened_house
from modelyard.cli.options import Home
from modelyard.container import Container
from modelyard.database import Database
from modelyard.ids import ModelId, ModelValidationId
from modelyard.models.definition import Changes
from modelyard.models.dry_runs.validations import Trial, describe_validation, get_validation
from modelyard.models.dry_runs.validations import validate as put_on_table
from modelyard.models.dry_runs.wire import ModelValidationShape, StageShape
from modelyard.source_code.check import Checker
from modelyard.source_code.requirements import parse_requirements
from modelyard.storage import BlobStore

#: Seconds between two looks.
POLL_S = 0.2
Names = Annotated[tuple[str, ...], Parameter(negative="")]


def validate(
    source: Annotated[Path, Parameter(help="A file of Python source.")],
    *,
    train: Annotated[str, Parameter(help="Name of the function that trains.")] = "train",
    predict: Annotated[str | None, Parameter(help="Name of the function that predicts.")] = None,
    predict_many: Annotated[str | None, Parameter(help="Name of the function that predicts many at once.")] = None,
    initialize: Annotated[str | None, Parameter(help="Name of the function that prepares the model.")] = None,
    table: Annotated[Names, Parameter(help="Name of a table, once for each, in order.")] = (),
    package: Annotated[Names, Parameter(help="A package requirement, once for each.")] = (),
    query: Annotated[str | None, Parameter(help="What predict is asked, as JSON; else a row of the table.")] = None,
    model: Annotated[str | None, Parameter(help="Id of the model that the source would change.")] = None,
    rows: Annotated[int | None, Parameter(help="Rows of each table that are tried.")] = None,
    json: Annotated[bool, Parameter(negative="", help="Print JSON, for programs.")] = False,
    home: Home = None,
) -> int:
    """Try out a source: check, environment, tables, then import, train and predict on a sample of rows."""
    changes = Changes(
        source=_read(source),
        train_function_name=train,
        predict_function_name=predict,
        predict_many_function_name=predict_many,
        initialize_function_name=initialize,
        training_input_tables=list(table) if table or model is None else None,
        package_requirements=parse_requirements(list(package)) if package or model is None else None,
    )
    with opened_house(home) as house:
        trial = Trial(
            changes=changes,
            model_id=ModelId(model) if model else None,
            query=_parse(query),
            sample_rows=rows or house.settings.validation_rows,
        )
        found = _try_out(house, trial, quiet=json)
    print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() if json else found.error or "it works")
    return 0 if found.error is None else 1


def _try_out(house: House, trial: Trial, *, quiet: bool) -> ModelValidationShape:
    parts = Container()
    parts.add(house.database)
    parts.add(BlobStore(house.settings.home / "blobs"))
    checker = Checker(house.settings)
    parts.add(checker)
    with house.database.read() as session:
        call = Call(session, parts, house.settings, house.clock, "validate", who=_principal(parts))
        try:
            validation = put_on_table(call, trial).model_validation
        finally:
            checker.close()
    told: list[StageShape] = []
    while True:
        found = _look(house, call, validation)
        if not quiet:
            told = _tell(found, told)
        if found.status in ("COMPLETE", "FAILED"):
            return found
        time.sleep(POLL_S)


def _look(house: House, call: Call, validation: ModelValidationId) -> ModelValidationShape:
    with house.database.read() as session:
        return describe_validation(session, call, get_validation(session, call.organization_id, validation))


def _tell(found: ModelValidationShape, told: list[StageShape]) -> list[StageShape]:
    """Prints the stages that have changed since; gives those that are told now."""
    for stage in found.stages:
        if stage not in told and stage.status != "PENDING":
            seconds = "" if stage.seconds is None else f" in {stage.seconds:.1f} s"
            answer = "" if stage.answer is None else f": {msgspec.json.encode(stage.answer).decode()}"
            message = "" if stage.status == "FAILED" or not stage.message else f", {stage.message}"
            print(f"{stage.name:12} {stage.status.lower()}{seconds}{message}{answer}", file=sys.stderr)
    return found.stages


def _principal(parts: Container) -> Principal:
    with parts.get(Database).read() as session:
        organization = session.scalars(select(Organization).order_by(Organization.created_at)).first()
        assert organization is not None, "an opened house has one"
        mine = User.organization_id == organization.organization_id
        user = session.scalars(select(User).where(mine).order_by(User.created_at)).first()
        assert user is not None, "and a user in it"
        return Principal(organization.organization_id, user.user_id, is_admin=True)


def _read(source: Path) -> str:
    try:
        return source.read_text()
    except OSError as error:
        raise CommandFailed(f"{source} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{source} is no text in UTF-8") from error


def _parse(query: str | None) -> dict[str, object] | None:
    try:
        return None if query is None else msgspec.json.decode(query, type=dict[str, object])
    except msgspec.MsgspecError as error:
        raise CommandFailed(f"--query takes a JSON object: {error}") from error

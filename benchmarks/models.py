"""First pages of models and their versions in houses with 1,000 and 10,000 models of 100 versions each.

Models are written into the database as the platform writes them, one of them with its versions, and the versions of all
others by the database itself, as copies of those. Then one caller asks the real gateway, action after action, on SQLite
and on PostgreSQL. All models are in one project, which is as large as a list can be. The budget is for the platform's
part, until the last byte is there; reading half a megabyte of JSON is the caller's, and shown beside it.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import String, Table, cast, insert, literal, select, text
from sqlalchemy.orm import Session

from benchmarks.house import House
from benchmarks.measure import Options, Row, at_most, percentile
from benchmarks.postgresql import each_database
from modelyard.accounts.records import Organization
from modelyard.clock import utc_now
from modelyard.database import Database
from modelyard.models.definition import digest_of
from modelyard.models.records import Model, ModelRevision, ModelText, ModelVersion

SIZES = (1_000, 10_000, 100_000)
#: Models from which on the largest house takes some minutes to fill.
USUAL = 10_000
VERSIONS = 100
#: Milliseconds that half of all calls may take.
BUDGET_MS = 10
CALLS = 60
SOURCE = "def train(rows):\n    return len(rows)\n\n\ndef predict(model, query):\n    return model\n" + "# more\n" * 60
LOCK = "".join(f"package-{at}=={at}.0.0 \\\n    --hash=sha256:{at:064}\n" for at in range(40))


def run(options: Options) -> Iterator[Row]:
    """SQLite, then PostgreSQL where the wheel with its server is installed."""
    sizes = [size for size in SIZES if size <= max(min(options.rows // 1_000, SIZES[-1]), SIZES[0])]
    for name, url in each_database():
        yield from _measured(name, url, sizes)


def _measured(name: str, url: str | None, sizes: list[int]) -> Iterator[Row]:
    with House(warm_guests=0, **({"database_url": url} if url else {})) as house:
        database = Database(url or f"sqlite:///{house.home / 'modelyard.db'}")
        project_id = house.call("createProject", name="Large", useCase="PYTHON_MODEL")["projectId"]
        there = 0
        for size in sizes:
            _fill(database, project_id, there, size)
            there = size
            for what, parameters in _asked(project_id, size).items():
                took = [_milliseconds(house, what.partition(" ")[0], parameters) for _ in range(CALLS)]
                answered, read = (percentile([each[at] for each in took], 0.5) for at in (0, 1))
                row = f"{what}, {size:,} models, {name}, p50"
                yield at_most(row, answered, BUDGET_MS, "ms", against=f"{read:.3g} ms until it was read, too")
        database.close()


def _asked(project_id: str, size: int) -> dict[str, dict[str, str]]:
    middle = _id(size // 2)
    return {
        "describeModel": {"modelId": middle},
        "describeModelVersion": {"modelVersion": f"{middle}.50"},
        "listModelVersions": {"modelId": middle, "limit": "100"},
        "listModelRevisions": {"modelId": middle},
        "listModels (100)": {"projectId": project_id, "limit": "100"},
        "listModels (10)": {"projectId": project_id, "limit": "10"},
    }


def _milliseconds(house: House, what: str, parameters: dict[str, str]) -> tuple[float, float]:
    """Until the answer's last byte was there, and until the official client's library had read its JSON."""
    start = time.perf_counter()
    answer = house.ask(what, **parameters)
    answered = time.perf_counter()
    assert answer.json()["success"], answer.text[:500]
    return (answered - start) * 1000, (time.perf_counter() - start) * 1000


def _fill(database: Database, project_id: str, begin: int, end: int) -> None:
    """Models `begin` to `end`, with their versions."""
    with database.read() as session:
        organization_id = session.scalars(select(Organization.organization_id)).one()
    for start in range(begin, end, 5_000):
        with database.write() as session:
            numbers = range(start, min(start + 5_000, end))
            models = [_model(organization_id, project_id, number) for number in numbers]
            session.execute(insert(Model), models)
            if start == 0:
                _write_first(session, models[0])
            _copy(session, models[0]["model_id"], models[-1]["model_id"])
    with database.write() as session:
        session.execute(text("ANALYZE"))


def _copy(session: Session, first: str, last: str) -> None:
    """Gives models of ids from `first` to `last` what the first model of all has."""
    template, models = _id(0), Model.__table__
    fresh = (models.c.model_id >= first) & (models.c.model_id <= last) & (models.c.model_id != template)
    for record, changes in (
        (ModelRevision, {"revision_id": models.c.model_id + ".r", "model_id": models.c.model_id}),
        (
            ModelVersion,
            {
                "model_version": models.c.model_id + "." + cast(ModelVersion.number, String),
                "model_id": models.c.model_id,
                "revision_id": models.c.model_id + ".r",
            },
        ),
    ):
        table = record.__table__
        assert isinstance(table, Table)
        shown = [changes.get(column.name, column) for column in table.columns]
        rows = select(*shown).select_from(table.join(models, literal(value=True))).where(table.c.model_id == template)
        session.execute(insert(table).from_select([column.name for column in table.columns], rows.where(fresh)))


def _write_first(session: Session, model: dict[str, Any]) -> None:
    texts = {digest_of(each.encode()): each.encode() for each in (SOURCE, LOCK)}
    session.execute(insert(ModelText), [{"digest": digest, "content": content} for digest, content in texts.items()])
    source, lock = texts
    common = {
        "training_input_tables": [], "feature_group_ids": [], "use_gpu": False, "fingerprint": source,
        "training_config": {"LR": 0.1}, "created_at": model["created_at"], "created_by": model["created_by"],
    }  # fmt: skip
    revision = common | {
        "revision_id": f"{model['model_id']}.r", "model_id": model["model_id"], "number": 1, "source_digest": source,
        "source_size": len(SOURCE), "source_type": "TEXT", "train_function_name": "train",
        "predict_function_name": "predict", "package_requirements": ["numpy"], "inferred_requirements": [],
        "module_dependencies": [], "publishing_msg": {},
    }  # fmt: skip
    session.execute(insert(ModelRevision), [revision])
    versions = [
        common | {
            "model_version": f"{model['model_id']}.{number}", "model_id": model["model_id"], "number": number,
            "organization_id": model["organization_id"], "project_id": model["project_id"], "run_id": "none",
            "revision_id": f"{model['model_id']}.r", "status": "COMPLETE", "module_pins": {}, "seed": number,
            "seed_given": False, "feature_group_versions": [], "lock_digest": lock, "environment_id": lock,
            "runtime": {"python": "CPython 3.11.7", "cores": 1}, "artifact_digest": source, "artifact_size": 1000,
            "predict_takes_tables": False, "metrics": {"loss": 0.1}, "metric_steps": [], "usage": {},
            "pending_deployment_ids": [], "failed_deployment_ids": [],
        }
        for number in range(1, VERSIONS + 1)
    ]  # fmt: skip
    session.execute(insert(ModelVersion), versions)


def _id(number: int) -> str:
    return f"m{number:09}"


def _model(organization_id: str, project_id: str, number: int) -> dict[str, Any]:
    model_id = _id(number)
    return {
        "model_id": model_id, "organization_id": organization_id, "project_id": project_id, "name": f"Model {number}",
        "is_python_model": True, "prediction_config": {}, "head": 1, "latest_version": f"{model_id}.{VERSIONS}",
        "trained_version": f"{model_id}.{VERSIONS}", "versions": VERSIONS, "created_by": "benchmark",
        "created_at": utc_now() - timedelta(days=1) + timedelta(milliseconds=number),
    }  # fmt: skip

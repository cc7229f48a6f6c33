"""Lists of models: page by page, and read in as many queries for many models as for few."""

import re
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from modelyard.ids import ProjectId
from modelyard.models import describe
from modelyard.models.records import Model
from tests.models.house import make_model, make_project, make_table
from tests.yard import CallFailed, Yard


def test_models_are_listed_page_by_page_oldest_first(desk_on: Yard) -> None:
    project = make_project(desk_on)
    made = [make_model(desk_on, projectId=project)["modelId"] for _ in range(5)]
    seen: list[str] = []
    while page := desk_on.call(
        "listModels", "GET", projectId=project, limit=2, startAfterId=seen[-1] if seen else None
    ):
        assert len(page) <= 2
        seen += [each["modelId"] for each in page]
    assert seen == made == [each["modelId"] for each in desk_on.call("listModels", "GET", projectId=project)]
    assert [each.model_id for each in desk_on.client().list_models(project)] == made
    with pytest.raises(CallFailed, match="limit is 0"):
        desk_on.call("listModels", "GET", projectId=project, limit=0)


def statements(session: Session, models: list[Model]) -> list[str]:
    """The statements that describing them takes, without their lists of ids."""
    asked, here = [], threading.get_ident()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if threading.get_ident() == here:  # the gateway's own threads ask, too
            asked.append(re.sub(r"IN \([?, ]*\)", "IN ()", re.sub(r"%\(\w+\)s(::\w+)?", "?", statement)))

    engine = session.get_bind()
    assert isinstance(engine, sa.Engine)
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert len(describe.describe_models(session, models, listing=True)) == len(models)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return asked


def test_no_page_reads_whole_tables(desk: Yard) -> None:
    project = make_project(desk)
    models = [make_model(desk, projectId=project)["modelId"] for _ in range(3)]
    engine = desk.database.engine
    asked: dict[str, Any] = {}

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            asked.setdefault(statement, parameters)

    event.listen(engine, "before_cursor_execute", note)
    try:
        desk.call("listModels", "GET", projectId=project, limit=2, startAfterId=models[0])
        version = desk.call("describeModel", "GET", modelId=models[0])["latestModelVersion"]["modelVersion"]
        desk.call("listModelVersions", "GET", modelId=models[0], startAfterVersion=version)
        desk.call("describeModelVersion", "GET", modelVersion=version)
        [revision] = desk.call("listModelRevisions", "GET", modelId=models[0])
        desk.call("describeModelRevision", "GET", modelRevision=revision["modelRevision"])
    finally:
        event.remove(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        plans = {
            statement: [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for statement, parameters in asked.items()
            if "model" in statement
        }
    assert len(plans) >= 6
    scans = [(statement, line) for statement, plan in plans.items() for line in plan if line.startswith("SCAN")]
    # An empty list of ids is a query of no rows.
    assert [each for each in scans if "CONSTANT" not in each[1] and "subquery" not in each[1]] == []
    sorts = [(statement, line) for statement, plan in plans.items() for line in plan if "TEMP B-TREE" in line]
    assert [line for statement, line in sorts if "refresh" not in statement] == []


def test_many_models_are_read_in_as_many_queries_as_two(desk_on: Yard) -> None:
    project = make_project(desk_on)
    policy = {"name": "weekly", "cron": "0 6 * * 1", "refreshType": "MODEL", "projectId": project}
    for at in range(8):
        make_table(desk_on, f"counted_{at}", {"x": [at]})
        model = make_model(desk_on, projectId=project, trainingInputTables=[f"counted_{at}"])
        desk_on.call("createRefreshPolicy", modelIds=[model["modelId"]], **policy)
    counts = []
    for some in (2, 8):
        with desk_on.database.read() as session:
            query = select(Model).where(Model.project_id == ProjectId(project)).limit(some)
            counts.append(statements(session, list(session.scalars(query))))
    assert counts[0] == counts[1]

"""What is known of a deployment's inputs and result, from code, tables and calls, put together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.deployments.records import Deployment
from modelyard.deployments.tables import lookup_table
from modelyard.errors import ConflictError
from modelyard.execution import After
from modelyard.feature_groups.outcomes import TableVersion
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.models.importance.targets import find_target
from modelyard.models.records import ModelVersion
from modelyard.models.versions import deployable, tables_of
from modelyard.observability.interfaces.examples import example
from modelyard.observability.interfaces.inferring import Schema, made_up, of_column, of_values
from modelyard.observability.interfaces.rows import Row, row_of
from modelyard.observability.interfaces.samples import Sample, objects, read_samples
from modelyard.observability.interfaces.wire import Argument, DeploymentInterface, Source
from modelyard.online_rows.records import OnlineTable
from modelyard.source_code.check import Checker, FunctionInterface

#: Parameters of `predict` that are the platform's to fill: the model, the query, and the training's tables after them.
GIVEN = 2
#: What kinds of value rows online hold -> schemas.
ONLINE: dict[str, Schema] = {
    **{kind: {"type": kind} for kind in ("integer", "number", "string", "boolean")},
    "list": {"type": "array"},
    "struct": {"type": "object"},
}


class Known(NamedTuple):
    """What code and tables say of a model's queries."""

    function: FunctionInterface | None
    #: Columns of the training's tables, without the one that is predicted.
    columns: dict[str, Schema]
    table_of: dict[str, str]
    tables: tuple[TableVersion, ...] = ()


def describe_interface(call: Call, deployment: Deployment) -> DeploymentInterface | After:
    """How the deployment wants to be asked, as far as that can be told without running any code of the user's."""
    session, base_url = call.session, call.base_url
    if deployment.feature_group_id is not None:
        return _of_group(session, deployment, base_url)
    version = session.get_one(ModelVersion, deployment.model_version or deployment.pending_model_version)
    known = _known(session, call.parts.get(Checker), version)
    samples = read_samples(session, deployment.deployment_id, "predict")
    function = known.function
    query = _query(known, samples)
    row = row_of(call, known.tables[0].table) if known.tables and not samples else None
    if isinstance(row, After):
        return row
    arguments = _arguments(function, len(version.training_input_tables))
    takes_any = function is None or function.takes_any_keyword
    taken = None if takes_any else {each.name for each in arguments}
    body, result, source = _body(query, samples, row, taken)
    return DeploymentInterface(
        deployment_id=deployment.deployment_id,
        action="predict",
        function_name=function.name if function else None,
        documentation=function.documentation or None if function else None,
        query=query,
        result=of_values([sample.result for sample in samples]),
        arguments=arguments,
        takes_any_argument=takes_any,
        calls_seen=len(samples),
        example=example(base_url, deployment.deployment_id, "predict", body, result, source),
    )


def _known(session: Session, checker: Checker, version: ModelVersion) -> Known:
    served = deployable(session, version)
    name = served.functions.predict
    in_one_file = served.code.tree is None and name is not None
    function = checker.describe(served.code.source, name) if in_one_file and name else None
    columns: dict[str, Schema] = {}
    table_of: dict[str, str] = {}
    try:
        tables = tables_of(session, version)
    except ConflictError:  # one of them has been deleted
        return Known(function, columns, table_of)
    target = _target(session, version)
    for table in tables:
        for column in table.table.columns:
            if column.name != target:
                columns.setdefault(column.name, of_column(column))
                table_of.setdefault(column.name, table.table_name)
    return Known(function, columns, table_of, tables)


def _target(session: Session, version: ModelVersion) -> str | None:
    try:
        return find_target(session, version, tables_of(session, version)).column
    except ConflictError:  # nobody has said
        return None


def _query(known: Known, samples: Sequence[Sample]) -> Schema:
    """The schema of `queryData`: the keys that the code reads and that callers send, or else the tables' columns."""
    queries = objects([sample.query for sample in samples])
    if samples and not queries:
        return of_values([sample.query for sample in samples])
    seen = of_values(queries).get("properties", {})
    read = known.function.keys if known.function else {}
    names = list(dict.fromkeys([*read, *seen])) or list(known.columns)
    properties = {name: _property(name, known, seen, len(queries), queries) for name in names}
    # A call that was answered without it tells that it is not needed, whatever the code looks like.
    required = [name for name in names if read.get(name, not read and bool(queries)) and _in_all(name, queries)]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _in_all(name: str, queries: Sequence[dict[str, Any]]) -> bool:
    return all(name in query for query in queries)


def _property(
    name: str, known: Known, seen: dict[str, Schema], count: int, queries: Sequence[dict[str, Any]]
) -> Schema:
    sources = []
    if known.function and name in known.function.keys:
        sources.append(f"read by {known.function.name}")
    if name in known.table_of:
        sources.append(f"column of {known.table_of[name]}")
    if name in seen:
        sources.append(f"in {sum(name in query for query in queries)} of the last {count} calls")
    schema = known.columns.get(name) or seen.get(name) or {}
    return {**schema, "description": ", ".join(sources).capitalize()}


def _body(
    query: Schema, samples: Sequence[Sample], row: Row | None, taken: set[str] | None
) -> tuple[dict[str, Any], Any, Source]:
    """The body of an example, what it was answered with, and where it is from; `taken`: arguments that it may have."""
    if samples:
        body = samples[0].body
        kept = {name: value for name, value in body.items() if taken is None or name == "queryData" or name in taken}
        return kept, samples[0].result, Source.CALL
    required = query.get("required", ())
    names: Schema = query.get("properties", {})
    if row is not None and any(name in row for name in names):
        told = {name: each for name, each in names.items() if name in row or name in required}
        return {"queryData": {name: row.get(name, made_up(each)) for name, each in told.items()}}, None, Source.ROW
    told = {name: each for name, each in names.items() if "type" in each or name in required}
    return {"queryData": made_up({**query, "properties": told})}, None, Source.TYPES


def _arguments(function: FunctionInterface | None, tables: int) -> list[Argument]:
    """The keywords that calls may give: the parameters behind model and query, without those that get tables."""
    parameters = function.parameters[GIVEN:] if function else []
    required = [each for each in parameters if each.required and not each.keyword_only]
    takes_tables = bool(tables) and len(required) == tables
    return [
        Argument(name=each.name, annotation=each.annotation, default=each.default, required=each.required)
        for each in parameters
        if not (takes_tables and each in required)
    ]


def _of_group(session: Session, deployment: Deployment, base_url: str) -> DeploymentInterface:
    if deployment.online_table_id is not None:
        online = session.get_one(OnlineTable, deployment.online_table_id)
        keys: tuple[str, ...] = (online.primary_key,)
        columns = {name: dict(ONLINE.get(str(kind), {})) for name, kind in online.columns.items()}
    else:
        version = deployment.feature_group_version or deployment.pending_feature_group_version
        served = lookup_table(session, session.get_one(FeatureGroupVersion, version))
        keys, columns = served.keys, {column.name: of_column(column) for column in served.table.columns}
    samples = read_samples(session, deployment.deployment_id, "lookupFeatures")
    query: Schema = {"type": "object", "minProperties": 1, "properties": {}, "additionalProperties": False}
    for key in keys:
        one = columns.get(key, {})
        query["properties"][key] = {
            "anyOf": [one, {"type": "array", "items": one}],
            "description": "A value, or several",
        }
    made: dict[str, Any] = {"queryData": {key: made_up(columns.get(key, {})) for key in keys}}
    body, result, source = made, None, Source.TYPES
    if samples:
        body, result, source = samples[0].body, samples[0].result, Source.CALL
    return DeploymentInterface(
        deployment_id=deployment.deployment_id,
        action="lookupFeatures",
        function_name=None,
        documentation=None,
        query=query,
        result={"type": "array", "items": {"type": "object", "properties": columns}},
        arguments=[
            Argument(name="limitResults", annotation="int", default=None, required=False),
            Argument(name="resultColumns", annotation="list[str]", default=None, required=False),
        ],
        takes_any_argument=False,
        calls_seen=len(samples),
        example=example(base_url, deployment.deployment_id, "lookupFeatures", body, result, source),
    )

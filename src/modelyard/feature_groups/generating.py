"""Makes the rows of one version: runs its query, or its function, in a guest and keeps the table that comes back.

Called by `materialize` for a version that its run has claimed. Whatever the user's code does ends as a `Failure` with a
sentence and the user's own frames; only what is no fault of theirs (no sandbox, a lost agent) is raised.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from modelyard.datasets.arrivals import BadTable, collect_table
from modelyard.environments import Environment, EnvironmentFailure, Environments
from modelyard.execution import Permanent, Retry, RunContext
from modelyard.execution.agent import capacity_of
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.online.snapshots import take_snapshot
from modelyard.feature_groups.outcomes import Failure, Generated, TableVersion
from modelyard.feature_groups.queries.dataset_expressions import raw_table
from modelyard.feature_groups.recipes.merging import plan_merge, with_query
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.feature_groups.sizes import limits_of, limits_of_query
from modelyard.feature_groups.twins import opened
from modelyard.gpus import NONE_HERE
from modelyard.sandbox import GuestError, GuestNotStarted, Limits, Outcome, Sandbox, SandboxUnavailable
from modelyard.sandbox.failures import FailureKind
from modelyard.source_code.pins import Pins, read_sources
from modelyard.storage import Table


def generate(
    run: RunContext, version: FeatureGroupVersion, inputs: Sequence[TableVersion], name: str, *, twin: bool = True
) -> Generated | Failure:
    """The rows of `version` from exactly those `inputs`, in the order of its definition.

    Without `twin` a large result is there sooner, and its first reader waits for the file that is mapped.
    """
    definition = version.made_from
    if definition.online_table_id is not None:
        return take_snapshot(run, version, definition.online_table_id)
    if definition.merge:
        planned = plan_merge(run, version, inputs[0])
        return (
            planned
            if isinstance(planned, Failure)
            else run_query(run, with_query(definition, planned[0]), planned[1], twin=twin)
        )
    if definition.dataset_id is not None:
        raw = raw_table(run, definition, name)
        return raw if isinstance(raw, Failure) else run_query(run, definition, [raw], twin=twin)
    if definition.engine_sql is not None:
        return run_query(run, definition, inputs, twin=twin)
    if version.use_gpu and not run.gpus:
        return Failure(_why_no_gpu(run, name))
    gpus = run.gpus if version.use_gpu else ()
    limits = limits_of(run.settings, version.cpu_size, version.memory_gib, gpus=gpus)
    return _run_function(run, version, inputs, limits, name, twin=twin)


def run_query(
    run: RunContext, definition: Definition, inputs: Sequence[TableVersion], *, twin: bool = True
) -> Generated | Failure:
    """The rows that the query gives over those tables."""
    limits = limits_of_query(run.settings)
    tables = {each.table_name: index for index, each in enumerate(inputs)}
    message = {
        "query": definition.engine_sql,
        "tables": tables,
        "memory_gib": limits.memory_gib,
        "scratch_gib": limits.scratch_gib,
        "threads": max(1, round(limits.cores)),
        "twin": twin,
    }
    return _run(run, "sql", message, inputs, limits, _environment(run, ()), "query")


def _run_function(
    run: RunContext,
    version: FeatureGroupVersion,
    inputs: Sequence[TableVersion],
    limits: Limits,
    name: str,
    *,
    twin: bool,
) -> Generated | Failure:
    definition = version.made_from
    pins = Pins.of(version.pins)
    with run.read() as session:
        modules = read_sources(session, pins)
    environment = _environment(run, tuple(dict.fromkeys([*definition.requirements, *pins.requirements])))
    message: dict[str, Any] = {
        "source": definition.source_code,
        "module_name": "function",
        "function": definition.function_name,
        "tables": [{"name": each.table_name, "keyword": each.binding} for each in definition.inputs],
        "arguments": definition.arguments,
        "modules": modules,
        "twin": twin,
    }
    return _run(run, "function", message, inputs, limits, environment, name)


def _why_no_gpu(run: RunContext, name: str) -> str:
    if capacity_of(run.settings).gpus < 1:
        return f"The feature group {name} {NONE_HERE}"
    return (
        f"The feature group {name} needs a GPU (useGpu), and what asked for its rows reserved none: "
        "materialize it by itself first, or give useGpu to the model that reads it."
    )


def _run(
    run: RunContext,
    task: str,
    message: dict[str, Any],
    inputs: Sequence[TableVersion],
    limits: Limits,
    environment: Environment | Failure,
    name: str,
) -> Generated | Failure:
    if isinstance(environment, Failure):
        return environment
    try:
        with environment.hold(), opened(run.parts, run.settings, [each.table for each in inputs]) as descriptors:
            outcome: Outcome[Table] = run.parts.get(Sandbox).run(
                environment.interpreter, limits, task, message, fds=descriptors, on_output=run.log,
                cancelled=run.cancelled, collect=partial(collect_table, run.parts, run.settings), name=name,
            )  # fmt: skip
    except SandboxUnavailable as error:
        raise Permanent(str(error)) from error
    except GuestNotStarted as error:
        raise Retry(f"a guest could not be started: {error}") from error
    except BadTable as error:
        return Failure(str(error), lock=environment.lock)
    if outcome.error is not None or outcome.collected is None:
        return _failure(run, outcome.error, environment.lock)
    return Generated(outcome.collected, environment.lock)


def _environment(run: RunContext, requirements: Sequence[str]) -> Environment | Failure:
    try:
        found = run.parts.get(Environments).ensure(
            requirements, on_progress=lambda line: run.log("stdout", line + "\n"), cancelled=run.cancelled
        )
    except EnvironmentFailure as error:
        run.check_cancelled()
        if error.temporary:
            raise Retry(str(error), after_s=5) from error
        return Failure(f"The packages could not be installed: {error}")
    return found


def _failure(run: RunContext, error: GuestError | None, lock: str) -> Failure:
    if error is None:
        return Failure("The code gave no table", lock=lock)
    if error.kind == FailureKind.CANCELLED:
        run.check_cancelled()
    if error.was_killed:
        raise Retry(error.sentence)
    exception = {"type": error.type, "value": error.value, "traceback": error.traceback}
    return Failure(error.sentence, exception, lock)

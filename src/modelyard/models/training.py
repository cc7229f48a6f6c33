"""One training, as an agent does it: environment, tables, the user's `train` in a guest, and what it left.

`runs.train` calls `train_version` with a version that is TRAINING. What is the user's doing (code, requirements,
tables, sizes that can't be had) is raised as `TrainingFailed` and becomes data; what is the platform's
is Retry or Permanent.
What the version pins is written as soon as it is known, so that a failed training can be looked into as well.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import modelyard
from modelyard.database import JsonObject
from modelyard.environments import Environment, EnvironmentFailure, Environments
from modelyard.environments.lock import runtime
from modelyard.execution import Permanent, Retry, RunContext
from modelyard.execution.agent import capacity_of
from modelyard.execution.agents import largest_agent
from modelyard.feature_groups.materialize import MaterializationFailed, TableVersion, ensure_versions, open_table
from modelyard.gpus import NONE_HERE
from modelyard.ids import Digest, FeatureGroupId, ModelId, ModelVersionId
from modelyard.models.curves import Curve
from modelyard.models.definition import TIMEOUT
from modelyard.models.outputs import BadOutput, Outputs, collect
from modelyard.models.sizes import Size
from modelyard.models.versions import Code
from modelyard.sandbox import GuestError, GuestNotStarted, Limits, Sandbox, SandboxUnavailable, Usage
from modelyard.sandbox.failures import FailureKind
from modelyard.sandbox.limits import HASH_SEED
from modelyard.storage import BlobStore


class TrainingFailed(Exception):
    """The training has no result, for a reason that is the user's to mend; the message is a sentence for them."""

    def __init__(self, message: str, exception: JsonObject | None = None, usage: JsonObject | None = None) -> None:
        super().__init__(message)
        self.exception, self.usage = exception, usage


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be trained."""

    model_version: ModelVersionId
    code: Code
    train_function_name: str
    predict_function_name: str | None
    requirements: tuple[str, ...]
    #: Sources of the modules that the source imports, by name.
    modules: dict[str, str]
    #: Lock of an earlier attempt, which this one keeps to.
    lock: str | None
    feature_group_ids: tuple[FeatureGroupId, ...]
    #: The very versions of the tables that are to be used; None: the newest.
    tables: tuple[TableVersion, ...] | None
    training_config: JsonObject
    seed: int
    size: Size
    #: Archive of files that `train` finds in its working directory: those of an imported model.
    inputs: Digest | None = None
    #: The model; None for a dry run, of which nothing is learnt.
    model_id: ModelId | None = None

    def code_names(self, *, is_loaded: bool) -> tuple[str, ...]:
        """Under which the sandbox learns what the code imports; see `Code.names`."""
        return self.code.names(self.model_id, self.modules, is_loaded=is_loaded) if self.model_id else ()


@dataclass(frozen=True, slots=True)
class Pins:
    """What the training uses, as found out."""

    environment_id: Digest
    lock: str
    tables: tuple[TableVersion, ...]
    runtime: JsonObject


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out."""

    outputs: Outputs
    usage: JsonObject


def limits_of(run: RunContext, plan: Plan) -> Limits:
    """What the guest may use; TrainingFailed where this machine can't give what was asked for."""
    capacity = capacity_of(run.settings)
    memory_gib = float(plan.size.memory_gib or capacity.memory_gib)
    if memory_gib > capacity.memory_gib:
        _refuse_memory(run, memory_gib, capacity.memory_gib)
    if plan.size.use_gpu and capacity.gpus < 1:
        raise TrainingFailed(f"The model {NONE_HERE}")
    cores = min(plan.size.cores, capacity.cores)
    if cores < plan.size.cores:
        say(run, f"cpuSize {plan.size.cpu_size} means {plan.size.cores:g} cores; this machine has {cores:g}")
    minutes = plan.training_config.get(TIMEOUT)
    return Limits(
        cores=cores,
        memory_gib=memory_gib,
        timeout_s=minutes * 60.0 if minutes else run.settings.training_timeout_s,
        processes=run.settings.guest_processes,
        scratch_gib=run.settings.scratch_gib,
        gpus=run.gpus,
    )


def _refuse_memory(run: RunContext, wanted: float, here: float) -> None:
    with run.read() as session:
        most = largest_agent(session, run.settings).memory_gib
    if wanted <= most:
        raise Retry(f"the training asks for {wanted:g} GiB of memory, and this agent has {here:.1f}", after_s=5)
    raise TrainingFailed(
        f"The model asks for {wanted:g} GiB of memory, and the largest agent has {most:.1f} GiB. Give it less memory."
    )


def find_environment(run: RunContext, requirements: tuple[str, ...], lock: str | None) -> Environment:
    """The environment with those requirements; TrainingFailed with the resolver's own reason if there is none."""
    try:
        return run.parts.get(Environments).ensure(
            requirements,
            lock=lock,
            on_progress=lambda line: say(run, line),
            cancelled=run.cancelled,
        )
    except EnvironmentFailure as error:
        run.check_cancelled()
        if error.temporary:
            raise Retry(f"the packages could not be installed: {error}", after_s=5) from error
        raise TrainingFailed(f"The packages could not be installed: {error}") from error


def find_tables(run: RunContext, plan: Plan) -> tuple[TableVersion, ...]:
    """The rows that the plan names, or else the newest; TrainingFailed naming the table that could not be made."""
    if plan.tables is not None:
        return plan.tables
    try:
        return tuple(ensure_versions(run, plan.feature_group_ids))
    except MaterializationFailed as error:
        raise TrainingFailed(str(error)) from error


def pins_of(environment: Environment, tables: Sequence[TableVersion], limits: Limits) -> Pins:
    """What the version says that it was made with."""
    implementation, version, platform = runtime()
    about = {
        "python": f"{implementation} {version}",
        "platform": platform,
        "modelyard": modelyard.__version__,
        "cores": limits.cores,
        "hashSeed": int(HASH_SEED),
        "memoryGib": limits.memory_gib,
        "gpus": len(limits.gpus),
        "gpuModels": [gpu.model for gpu in limits.gpus],
    }
    return Pins(environment.id, environment.lock, tuple(tables), about)


def train_version(run: RunContext, plan: Plan, environment: Environment, pins: Pins, limits: Limits) -> Trained:
    """Runs the user's `train` over the pinned tables and keeps what it left."""
    sandbox, store = run.parts.get(Sandbox), run.parts.get(BlobStore)
    message = {
        **plan.code.message,
        "train_function": plan.train_function_name,
        "predict_function": plan.predict_function_name,
        "tables": [{"name": table.table_name} for table in pins.tables],
        "config": plan.training_config,
        "seed": plan.seed,
        "tells_steps": True,
        "metric_bounds": {"size": run.settings.metrics_limit, "steps": run.settings.metrics_steps},
        "modules": plan.modules,
        "files": plan.inputs is not None,
    }
    curve, names = Curve(run, plan.model_version), plan.code_names(is_loaded=False)
    try:
        with (
            environment.hold(),
            opened(run, pins.tables) as tables,
            opened_blobs(store, plan.code.tree, plan.inputs) as blobs,
        ):
            outcome = sandbox.run(
                environment.interpreter, limits, "train", message, fds=[*blobs, *tables], on_output=run.log,
                cancelled=run.cancelled, name=f"train {plan.model_version}",
                on_steps=curve, code=names, collect=lambda guest, result: collect(store, run.settings, guest, result),
            )  # fmt: skip
    except SandboxUnavailable as error:
        raise Permanent(str(error)) from error
    except GuestNotStarted as error:
        raise Retry(f"a guest could not be started: {error}") from error
    except BadOutput as error:
        curve.flush()
        raise TrainingFailed(str(error)) from error
    sandbox.warm(environment.interpreter, limits, code=names)
    if plan.predict_function_name:
        # For a replica, which may follow.
        of_replica, loaded = replace(limits, steady_hashes=False), plan.code_names(is_loaded=True)
        sandbox.warm(environment.interpreter, of_replica, code=loaded)
    usage = usage_of(outcome.usage)
    if outcome.error is not None or outcome.collected is None:
        curve.flush()
        raise _failure(run, outcome.error, usage)
    return Trained(outcome.collected, usage)


def usage_of(usage: Usage) -> JsonObject:
    """What was used, as the version keeps it."""
    return {"peakMemoryBytes": usage.peak_memory_bytes, "cpuSeconds": round(usage.cpu_s, 3)}


def say(run: RunContext, line: str) -> None:
    """A line of ours among what the user's code prints."""
    run.log("stdout", f"modelyard: {line}\n")


@contextmanager
def opened_blobs(store: BlobStore, *digests: Digest | None) -> Iterator[list[int]]:
    """Those of the blobs that there are: a tree's archive, an imported model's files."""
    with ExitStack() as stack:
        yield [stack.enter_context(store.open(digest)).fileno() for digest in digests if digest is not None]


@contextmanager
def opened(run: RunContext, tables: Sequence[TableVersion]) -> Iterator[list[int]]:
    """Descriptors of the tables' Arrow files, in order, closed at the end."""
    descriptors: list[int] = []
    try:
        for each in tables:
            descriptors.append(open_table(run.parts, run.settings, each.table))  # noqa: PERF401 - closed if one fails
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _failure(run: RunContext, error: GuestError | None, usage: JsonObject) -> TrainingFailed:
    if error is None:
        return TrainingFailed("The training gave no result.", usage=usage)
    if error.kind == FailureKind.CANCELLED:
        run.check_cancelled()
    if error.was_killed:
        raise Retry(error.sentence)
    exception: dict[str, Any] = {"type": error.type, "value": error.value, "traceback": error.traceback}
    return TrainingFailed(error.sentence, {name: clean(text) for name, text in exception.items()}, usage)


def clean(text: str) -> str:
    """The text without what a database can't keep: NUL characters and halves of surrogate pairs."""
    return text.replace("\x00", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()

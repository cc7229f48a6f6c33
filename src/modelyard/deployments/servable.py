"""What a replica is started with, whatever it serves: a model version, or a table whose rows are looked up."""

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from modelyard.deployments.recipes import recipe_of
from modelyard.deployments.records import Deployment, Version
from modelyard.deployments.tables import LookupTable, lookup_table
from modelyard.errors import ConflictError
from modelyard.execution import Retry
from modelyard.execution.agents import largest_agent
from modelyard.feature_groups.records import FeatureGroupVersion
from modelyard.gpus import NONE_HERE, find_gpus
from modelyard.ids import Digest
from modelyard.models.loading import model_blobs, model_message
from modelyard.models.records import ModelVersion
from modelyard.models.sizes import CORES, CpuSize
from modelyard.models.versions import Deployable, deployable
from modelyard.sandbox import Limits
from modelyard.settings import Settings
from modelyard.storage import Table


@dataclass(frozen=True, slots=True)
class Servable:
    """A guest's task, what it is told, and the files that it gets, in this order: blobs, then tables."""

    task: str
    message: dict[str, object]
    blobs: tuple[Digest, ...]
    tables: tuple[Table, ...]
    requirements: tuple[str, ...]
    #: The environment, exactly; None: what the requirements give, without any the base packages.
    lock: str | None
    is_thread_safe: bool
    limits: Limits
    #: Names under which the sandbox learns what its code imports.
    code: tuple[str, ...] = ()


def servable(session: Session, settings: Settings, deployment: Deployment, version: Version) -> Servable:
    """What serving that version for the deployment needs; an error of `errors.py` says why it can't be served."""
    if deployment.feature_group_id is None:
        model_version = session.get_one(ModelVersion, version)
        served = of_model(settings, deployable(session, model_version))
        if model_version.use_gpu and not served.limits.gpus:
            _refuse_without_gpu(session, settings)
        return replace(served, message=served.message | {"recipe": recipe_of(session, model_version)})
    return of_table(settings, lookup_table(session, session.get_one(FeatureGroupVersion, version)))


def _refuse_without_gpu(session: Session, settings: Settings) -> None:
    if largest_agent(session, settings).gpus:
        raise Retry("the model needs a GPU, and this agent has none", after_s=1)
    raise ConflictError(f"The model {NONE_HERE}")


def of_table(settings: Settings, served: LookupTable) -> Servable:
    """A table that answers look-ups; see `sandbox/guest/lookup.py`."""
    return Servable(
        task="lookup",
        message={"name": served.table_name, "keys": list(served.keys)},
        blobs=(),
        tables=(served.table,),
        requirements=(),
        lock=None,
        is_thread_safe=False,
        limits=_limits(settings, None, None),
    )


def of_model(settings: Settings, served: Deployable) -> Servable:
    """A model that answers predictions; see `sandbox/guest/replica.py`."""
    return Servable(
        task="replica",
        message=model_message(served),
        blobs=model_blobs(served),
        tables=tuple(each.table for each in served.tables),
        requirements=served.requirements,
        lock=served.lock,
        is_thread_safe=served.is_thread_safe,
        limits=_limits(settings, served.cpu_size, served.memory_gib, use_gpu=served.use_gpu),
        code=served.code_names,
    )


def _limits(settings: Settings, cpu_size: str | None, memory_gib: int | None, *, use_gpu: bool = False) -> Limits:
    return Limits(
        cores=CORES[CpuSize(cpu_size) if cpu_size else CpuSize.SMALL],
        memory_gib=memory_gib or settings.replica_memory_gib,
        processes=settings.guest_processes,
        scratch_gib=settings.scratch_gib,
        # Replicas live on, so they reserve none, or no training would ever get one: they share what there is.
        gpus=find_gpus() if use_gpu else (),
        steady_hashes=False,
    )

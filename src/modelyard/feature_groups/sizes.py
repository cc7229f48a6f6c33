"""How large a guest of this room is: what a run asks of its agent, and what its guest may use.

Sizes are the API's: `small` to `large` in cores, 16 to 128 GiB of memory. A machine that is smaller than what was
asked for still serves: the run asks for no more than the whole machine. Source: the SDK's CPUSize and MemorySize.
"""

from dataclasses import replace
from enum import StrEnum

from modelyard.execution import Demand
from modelyard.execution.agent import capacity_of
from modelyard.gpus import Gpu
from modelyard.sandbox import Limits
from modelyard.settings import Settings

#: What a run without a size asks for; few machines have less.
DEFAULT = Demand(cores=1, memory_gib=2)


class CpuSize(StrEnum):
    """The sizes that callers know."""

    #: One core.
    SMALL = "small"
    #: Two cores.
    MEDIUM = "medium"
    #: Four cores.
    LARGE = "large"


CORES = {CpuSize.SMALL: 1.0, CpuSize.MEDIUM: 2.0, CpuSize.LARGE: 4.0}


def demand_of(settings: Settings, cpu_size: str | None, memory_gib: int | None, *, gpus: int = 0) -> Demand:
    """What a run of that size asks of its agent, cut so that it need not wait until nothing else runs here."""
    capacity = capacity_of(settings)
    cores = CORES[CpuSize(cpu_size)] if cpu_size else DEFAULT.cores
    memory = float(memory_gib) if memory_gib else DEFAULT.memory_gib
    return Demand(min(cores, capacity.cores), min(memory, capacity.memory_gib / 2), gpus)


def limits_of(
    settings: Settings, cpu_size: str | None, memory_gib: int | None, *, gpus: tuple[Gpu, ...] = ()
) -> Limits:
    """What the guest of such a run may use; without a size, the memory of the whole agent."""
    return Limits(
        cores=demand_of(settings, cpu_size, memory_gib).cores,
        memory_gib=float(memory_gib) if memory_gib else capacity_of(settings).memory_gib,
        timeout_s=settings.materialization_timeout_s,
        processes=settings.guest_processes,
        scratch_gib=settings.scratch_gib,
        gpus=gpus,
    )


def limits_of_query(settings: Settings) -> Limits:
    """What the guest of a query may use: what the agent has, which queries share among them as they run.

    The engine spreads a query over all cores by itself; the libraries around it are those of a guest of one core, so
    that a guest that waits already can be taken.
    """
    limits = limits_of(settings, None, None)
    return replace(
        limits, cores=max(limits.cores, float(int(capacity_of(settings).cores))), library_threads=limits.threads
    )

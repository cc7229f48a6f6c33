"""What a training may use: the words of the API turned into cores, GiB and the share of an agent that a run reserves.

Source: updatePythonModel, cpuSize and memory; the SDK's enums CPUSize and MemorySize.
"""

from enum import StrEnum
from typing import NamedTuple

from sqlalchemy.orm import Session

from modelyard.errors import InvalidParameterError
from modelyard.execution import Demand
from modelyard.execution.agents import largest_agent
from modelyard.settings import Settings

#: What a run reserves whose model names no memory. Its limit is the whole agent.
USUAL_MEMORY_GIB = 2.0
#: Largest memory that can be asked for.
MOST_MEMORY_GIB = 1024


class CpuSize(StrEnum):
    """How many cores a function gets. Read without regard to case, as the SDK compares them."""

    #: 1 core.
    SMALL = "small"
    #: 2 cores.
    MEDIUM = "medium"
    #: 4 cores.
    LARGE = "large"

    @classmethod
    def _missing_(cls, value: object) -> "CpuSize | None":
        return next((size for size in cls if isinstance(value, str) and size.value == value.lower()), None)


CORES: dict[CpuSize, float] = {CpuSize.SMALL: 1, CpuSize.MEDIUM: 2, CpuSize.LARGE: 4}


class Size(NamedTuple):
    """What a version asks for."""

    cpu_size: CpuSize | None
    #: None: whatever the agent has.
    memory_gib: int | None
    use_gpu: bool

    @property
    def cores(self) -> float:
        return CORES[self.cpu_size or CpuSize.SMALL]


def check_memory(memory: int | None) -> int | None:
    """The memory in GiB; InvalidParameterError where it is no size."""
    if memory is not None and not 1 <= memory <= MOST_MEMORY_GIB:
        raise InvalidParameterError(f"memory is {memory}; it must be between 1 and {MOST_MEMORY_GIB} (GB).")
    return memory


def demand(session: Session, settings: Settings, size: Size) -> Demand:
    """What the training's run reserves: never more than half of the largest agent, so that no run waits for ever.

    The limits of the guest are what was asked for; what can't be had at all fails in the run, with a reason.
    """
    most = largest_agent(session, settings)
    cores = min(size.cores, max(1.0, most.cores / 2), most.cores)
    memory_gib = min(size.memory_gib or USUAL_MEMORY_GIB, most.memory_gib / 2)
    return Demand(cores, memory_gib, min(int(size.use_gpu), most.gpus))

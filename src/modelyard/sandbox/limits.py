"""What a guest is made of and what it may use: its interpreter, its limits, and what it used in the end.

Callers say it in cores and GiB; `cgroups`, `watchdog` and `bubblewrap` turn it into kernel settings.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from modelyard.gpus import Gpu

GIB = 1024**3
#: Variables by which numerical libraries are told how many threads to start; read once, at their import.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
    "ARROW_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "RAYON_NUM_THREADS",
)

#: Where kernels go that are compiled for the card at hand: else into the home, and so among the model's own files.
_KERNEL_CACHES = {
    "CUDA_CACHE_PATH": "/tmp/cuda-cache",  # noqa: S108 - the guest's own
    "TRITON_CACHE_DIR": "/tmp/triton-cache",  # noqa: S108 - the guest's own
}

#: PYTHONHASHSEED of guests with steady hashes. One for all, since a waiting guest has read it before it gets its task.
HASH_SEED = "0"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python of one environment: its `bin/python` and the read-only folders that it needs to run."""

    python: Path
    #: Prefix of the environment and of the base interpreter; each is visible inside under its own path.
    mounts: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a guest may use. What is past it ends the guest, with a sentence that names the limit."""

    cores: float = 1
    memory_gib: float = 1
    #: Wall-clock seconds of one call; None means no limit.
    timeout_s: float | None = None
    #: Processes and threads together.
    processes: int = 512
    #: Bytes on disk that the working directory may hold.
    scratch_gib: float = 20
    #: The host's network; for builds of environments, never for a model's code unless an operator says so.
    network: bool = False
    #: GPUs that the guest sees; all others are hidden from it.
    gpus: tuple[Gpu, ...] = ()
    #: Texts hash the same in every guest, so that sets have the same order whenever something is made again. False
    #: for guests that read what strangers send, who could else look for texts that all hash alike.
    steady_hashes: bool = True
    #: Threads of numerical libraries, where these are to be fewer than the cores: for work that brings its own threads.
    library_threads: int | None = None

    @property
    def memory_bytes(self) -> int:
        return int(self.memory_gib * GIB)

    @property
    def scratch_bytes(self) -> int:
        return int(self.scratch_gib * GIB)

    @property
    def threads(self) -> int:
        """Threads that numerical libraries may start: the cores, at least one."""
        return self.library_threads or max(1, round(self.cores))

    def environment(self, python: Path, folder: str) -> dict[str, str]:
        """All variables of a guest whose working directory is `folder`: none of the host's are among them."""
        variables = {name: str(self.threads) for name in THREAD_VARIABLES}
        variables |= {
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": folder,
            "USER": "guest",
            "TMPDIR": "/tmp",  # noqa: S108 - the guest's own
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if self.steady_hashes:
            variables["PYTHONHASHSEED"] = HASH_SEED
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.uuid for gpu in self.gpus)
        return variables | (_KERNEL_CACHES if self.gpus else {})


@dataclass(frozen=True, slots=True)
class Usage:
    """What a guest used. `peak_memory_bytes` and `cpu_s` cover all its processes."""

    peak_memory_bytes: int = 0
    cpu_s: float = 0.0
    #: First line of the user's function, in seconds of CLOCK_MONOTONIC; None if it was never reached.
    started_at: float | None = None


def machine_memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

"""The GPUs of this machine, by the names that their driver gives them: to reserve one, and to show it to a guest.

Known from the driver's own files, without its libraries. Where there is no driver there is no GPU.
"""

import re
from pathlib import Path
from typing import NamedTuple

#: A folder for each GPU, named by its place on the bus. Source: the NVIDIA driver's README, "The /proc interface".
DRIVER = Path("/proc/driver/nvidia/gpus")
#: What is said to one whose code needs a GPU where there is none.
NONE_HERE = "needs a GPU (useGpu), and this machine has none that can be used."
_UUID = re.compile(r"^GPU UUID:\s*(GPU-[0-9a-fA-F-]+)\s*$", re.MULTILINE)
_MODEL = re.compile(r"^Model:\s*(\S.*?)\s*$", re.MULTILINE)
_MINOR = re.compile(r"^Device Minor:\s*(\d+)\s*$", re.MULTILINE)


class Gpu(NamedTuple):
    """One GPU."""

    #: What `CUDA_VISIBLE_DEVICES` calls it, wherever it is seen from.
    uuid: str
    #: Its device is /dev/nvidia and this number.
    minor: int
    #: What its maker calls it, for people.
    model: str = ""


def find_gpus(driver: Path = DRIVER) -> tuple[Gpu, ...]:
    """The GPUs that can be used, in the order of their places on the bus."""
    found = []
    for folder in sorted(driver.glob("*")):
        try:
            text = (folder / "information").read_text()
        except OSError:
            continue
        uuid, minor = _UUID.search(text), _MINOR.search(text)
        if uuid and minor:
            model = _MODEL.search(text)
            found.append(Gpu(uuid[1], int(minor[1]), model[1] if model else ""))
    return tuple(found)

"""Randomness that comes out the same again: Python's and numpy's generators, begun from the seed of the training.

What takes its randomness elsewhere (a generator made without a seed, the system's source, threads that race) is out of
reach; for those the seed is in the variable MODELYARD_SEED. Texts hash alike in every training: see `Limits`.
"""

import os
import random
import sys

#: Variable that holds the seed, for the user's own generators and for processes that they start.
VARIABLE = "MODELYARD_SEED"


def begin(seed: int) -> None:
    """Begins the generators that are loaded anew from `seed`."""
    os.environ[VARIABLE] = str(seed)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)

"""The tables that a function of the user's is called with, each in the form that its parameter asks for.

Used by `train`, by `function` and, for a `predict` that takes the tables of its training, by `model`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import frames
from .failures import Refused


def load_tables(
    user_function: Callable[..., object],
    tables: Sequence[Mapping[str, Any]],
    descriptors: Sequence[int],
    first: int = 0,
) -> list[Any]:
    """The tables for the function's positional parameters from its `first` on; closes the descriptors."""
    if len(tables) != len(descriptors):
        raise Refused(f"{len(tables)} tables were named and {len(descriptors)} came.", "ValueError")
    return [
        frames.load(descriptor, table.get("form") or frames.form_for(user_function, position))
        for position, (table, descriptor) in enumerate(zip(tables, descriptors, strict=True), first)
    ]

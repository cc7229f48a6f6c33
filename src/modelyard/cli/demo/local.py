"""Calls a user's function right here, in a folder of its own, since it may leave files where it works."""

import contextlib
import io
import os
import tempfile
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def in_a_folder_of_its_own(call: Callable[[], Result]) -> Result:
    """What `call` gives; what it prints and the files that it leaves are thrown away."""
    before = os.getcwd()  # noqa: PTH109 - goes back there, whatever it is
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(folder)
        try:
            return call()
        finally:
            os.chdir(before)

"""The user's code, however it came: one source, or a tree of files with packages and data beside them.

A tree is laid down read-only in the guest's own corner of the working directory, first on the import path, and imported
by Python's own means: relative imports, package data and `__file__` work as anywhere. It is the same at training,
prediction and in batches, so pickles find their classes under the same names.
"""

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from . import source
from .failures import USER_FOLDERS, Refused
from .stored import unpack

_FOLDER = ".modelyard/code"


class Code:
    """Where the user's functions are found, each imported when it is first asked for."""

    def __init__(self, find: Callable[[str], ModuleType]) -> None:
        self._find = find

    def module(self, role: str) -> ModuleType:
        """The module in which the function of that role (train, predict, predict_many, initialize) stands."""
        return self._find(role)

    def function(self, role: str, name: str) -> Callable[..., object]:
        """That function; a clear refusal if there is none."""
        return source.function(self.module(role), name)


def open_code(message: Mapping[str, Any], descriptors: Sequence[int]) -> tuple[Code, list[int]]:
    """The code of a message, and the descriptors that are left.

    Message: source, module_name, modules; or tree {train, predict: dotted module names}, modules, and the archive as
    the first descriptor, unless the tree has a folder in which it lies already.
    """
    tree, modules = message.get("tree"), message.get("modules")
    if tree is None:
        loaded = source.load(message["source"], message.get("module_name") or "model", modules)
        return Code(lambda _: loaded), list(descriptors)
    source.offer(modules or {})
    rest = list(descriptors)
    folder = tree.get("folder") or lay_down(rest.pop(0))
    USER_FOLDERS.add(folder + "/")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    return Code(lambda role: _imported(tree["train" if role == "train" else "predict"], folder)), rest


def forget_executed(message: Mapping[str, Any], code: Code) -> Code:
    """The same code as if nothing of it had been executed yet."""
    if message.get("tree") is None:
        return open_code(message, [])[0]
    folder = os.path.abspath(_FOLDER) + "/"
    for name, module in list(sys.modules.items()):
        if any(each.startswith(folder) for each in _places(module)):
            del sys.modules[name]
    return code


def lay_down(descriptor: int) -> str:
    """The folder in which the tree lies then, read-only."""
    folder = os.path.abspath(_FOLDER)
    os.makedirs(folder, exist_ok=True)
    for name in unpack(descriptor, folder):
        path = os.path.join(folder, name)
        os.chmod(path, 0o500 if os.stat(path).st_mode & 0o100 else 0o400)
    for parent, _, _ in os.walk(folder, topdown=False):
        os.chmod(parent, 0o500)
    return folder


def _imported(name: str, folder: str) -> ModuleType:
    """The module; one that a waiting guest had imported under that name before gives way to the user's."""
    found = sys.modules.get(name.partition(".")[0])
    if found is not None and not any(each.startswith(f"{folder}/") for each in _places(found)):
        raise Refused(
            f"The code's own {name.partition('.')[0]!r} has the name of a module that is loaded already; rename it.",
            "ImportError",
        )
    return importlib.import_module(name)


def _places(module: ModuleType) -> list[str]:
    return [str(getattr(module, "__file__", None) or ""), *(f"{each}/" for each in getattr(module, "__path__", ()))]

"""The user's source as a module: executed under the name that pickles refer to, shown under the name the user gave.

The module is called `modelyard_source`, at training and at prediction alike, so that objects of the user's classes find
their way back. Sources are also laid down as files on the import path, where worker processes of joblib and of
multiprocessing look for them.
"""

import importlib
import importlib.util
import inspect
import linecache
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from .failures import USER_FILES, Refused

#: The module under which a user's source is known inside.
MODULE = "modelyard_source"
_FOLDER = ".modelyard/source"


class _Sources(MetaPathFinder, Loader):
    """Imports modules from texts."""

    def __init__(self) -> None:
        self.texts: dict[str, tuple[str, str]] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the import system's signature
        target: ModuleType | None = None,  # noqa: ARG002 - likewise
    ) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname in self.texts else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:  # noqa: ARG002 - likewise
        return None

    def exec_module(self, module: ModuleType) -> None:
        filename, text = self.texts[module.__name__]
        module.__file__ = filename
        exec(compile(text, filename, "exec", dont_inherit=True), module.__dict__)


_sources = _Sources()


def load(source: str, name: str, modules: Mapping[str, str] | None = None) -> ModuleType:
    """Executes `source`, shown as `<name>.py`, with `modules` (name -> source) importable; gives the module."""
    offer({**(modules or {}), MODULE: source}, name)
    sys.modules.pop(MODULE, None)
    return importlib.import_module(MODULE)


def offer(modules: Mapping[str, str], name: str = "") -> None:
    """Makes modules (name -> source) importable; `name` is how the user's source among them is shown."""
    if _sources not in sys.meta_path:
        sys.meta_path.insert(0, _sources)
    for module, text in modules.items():
        # A module may be called as the source is shown: their lines must not be mistaken for each other's.
        filename = f"{name}.py" if module == MODULE else f"{'modules/' * (module == name)}{module}.py"
        _sources.texts[module] = (filename, text)
        USER_FILES.add(filename)
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        _lay_down(module, text)


def _lay_down(module: str, text: str) -> None:
    folder = os.path.abspath(_FOLDER)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"{module}.py"), "w", encoding="utf-8") as target:
        target.write(text)
    if folder not in sys.path:
        sys.path.append(folder)


def function(module: ModuleType, name: str) -> Callable[..., object]:
    """The function `name` of the user's module; a clear refusal if there is none."""
    found: Callable[..., object] | None = getattr(module, name, None)
    if not callable(found):
        raise Refused(f"The source defines no function {name!r}.", "NameError")
    return found


def accepts(user_function: Callable[..., object], name: str) -> bool:
    """Whether the function takes a keyword argument of that name explicitly."""
    parameter = _parameters(user_function).get(name)
    return parameter is not None and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)


class Keywords:
    """The keyword arguments that a function takes beside its first `taken` positional ones; looked up once."""

    def __init__(self, user_function: Callable[..., object], taken: int) -> None:
        parameters = _parameters(user_function)
        self.takes_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
        self.names = [name for name in list(parameters)[taken:] if accepts(user_function, name)]

    def among(self, given: Mapping[str, object]) -> dict[str, object]:
        """Those of the given ones that the function takes."""
        if not given or self.takes_any:
            return dict(given)
        return {name: value for name, value in given.items() if name in self.names}


def count_required(user_function: Callable[..., object]) -> int:
    """How many positional arguments the function can't do without."""
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = _parameters(user_function).values()
    return sum(parameter.kind in places and parameter.default is parameter.empty for parameter in parameters)


def annotation(user_function: Callable[..., object], position: int | str) -> object:
    """The annotation of a parameter, by position or name; None without one. Text stays text if it can't be resolved."""
    parameters = _parameters(user_function)
    if isinstance(position, int):
        names = [
            name for name, one in parameters.items() if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
        ]
        rest = [name for name, one in parameters.items() if one.kind == one.VAR_POSITIONAL]
        if position >= len(names) and not rest:
            return None
        position = names[position] if position < len(names) else rest[0]
    parameter = parameters.get(position)
    return None if parameter is None or parameter.annotation is parameter.empty else parameter.annotation


def _parameters(user_function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(user_function, eval_str=True).parameters
    except Exception:  # noqa: BLE001 - annotations are the user's expressions and may raise anything
        try:
            return inspect.signature(user_function).parameters
        except (TypeError, ValueError):
            return {}

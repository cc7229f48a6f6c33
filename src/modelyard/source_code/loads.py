"""Does compiled code load a global name that nothing binds? A quick no for large sources, read from the bytecode.

Looking for undefined names with pyflakes takes longer than all else together. Where the answer here is no, it would
find none that matter when the code runs; where it is yes, pyflakes says which and where. Used by `examine.py`.
"""

import builtins
import dis
import sys
from collections.abc import Iterator
from types import CodeType

_LOADS = {dis.opmap[name] for name in ("LOAD_NAME", "LOAD_GLOBAL")}
_LOAD_GLOBAL = dis.opmap["LOAD_GLOBAL"]
_STORE_GLOBAL = dis.opmap["STORE_GLOBAL"]
_STORE_NAME = dis.opmap["STORE_NAME"]
_MODULE_NAMES = frozenset({"__name__", "__file__", "__doc__", "__spec__", "__builtins__", "__annotations__"})
#: Versions whose bytecode is known to be as it is read here; for others the answer is always yes.
_KNOWN_VERSIONS = {(3, 11), (3, 12), (3, 13)}


def loads_unbound(module: CodeType) -> bool:
    """Whether any code of the module loads a global that neither it nor Python binds. A star import is a yes."""
    if sys.version_info[:2] not in _KNOWN_VERSIONS or ("*",) in module.co_consts:
        return True
    bound = bound_globals(module) | _MODULE_NAMES | set(dir(builtins))
    return any(_is_unbound(code, bound) for code in _codes(module))


def bound_globals(module: CodeType) -> set[str]:
    """The global names that the module's code binds by name, in functions too."""
    bound = set(_arguments(module, {_STORE_NAME}))
    for code in _codes(module):
        if _STORE_GLOBAL in code.co_code[::2]:
            bound.update(_arguments(code, {_STORE_GLOBAL}))
    return bound


def _is_unbound(code: CodeType, bound: set[str]) -> bool:
    if bound.issuperset(code.co_names):
        return False
    own = set(_arguments(code, {_STORE_NAME}))
    return any(name not in bound and name not in own for name in _arguments(code, _LOADS))


def _codes(module: CodeType) -> Iterator[CodeType]:
    stack = [module]
    while stack:
        code = stack.pop()
        yield code
        stack.extend(each for each in code.co_consts if isinstance(each, CodeType))


def _arguments(code: CodeType, wanted: set[int]) -> Iterator[str]:
    """The names that the wanted operations of the code are about."""
    raw = code.co_code
    extended = 0
    for operation, argument in zip(raw[::2], raw[1::2], strict=True):
        if operation == dis.EXTENDED_ARG:
            extended = (extended | argument) << 8
            continue
        if operation in wanted:
            index = extended | argument
            # The lowest bit says whether a NULL is pushed before the value.
            yield code.co_names[index >> 1 if operation == _LOAD_GLOBAL else index]
        extended = 0

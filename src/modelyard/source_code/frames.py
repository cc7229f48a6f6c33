"""What the gateway and the resident checker process say to each other: length-prefixed JSON over a socket pair.

One request, one verdict, in turn. The sources inside are hostile, so the process that reads them is taken for hostile
too: a verdict is decoded to typed structs and nothing else, and its size is limited.
"""

import socket
import struct
from collections.abc import Mapping, Sequence

import msgspec

_LENGTH = struct.Struct(">I")
#: No verdict comes near this: findings are counted and cut where they are made.
VERDICT_LIMIT = 16 * 1024**2


class ModuleNames(msgspec.Struct, frozen=True, kw_only=True):
    """The names that a source has once it is imported."""

    #: Bound at its top level, sorted.
    names: list[str]
    #: What its `__all__` says; None where it has none that can be read.
    exported: list[str] | None = None
    #: Modules whose names it takes over by `from ... import *`.
    stars: list[str] = []
    #: It may have other names: it makes some as it runs.
    is_open: bool = False


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A source and what it is registered for."""

    source: str
    #: Role -> name of the function; roles are train, predict, predict_many, initialize, function, and callable for one
    #: that nobody knows the call of. None: not given.
    functions: Mapping[str, str | None] = msgspec.field(default_factory=dict)
    #: Tables that `train` (or `function`) is called with, positionally.
    table_count: int = 0
    #: Normalised requirement strings, see `requirements.parse_requirements`.
    requirements: Sequence[str] = ()
    #: Names of the organisation's modules that the source may import.
    modules: Sequence[str] = ()
    #: The names in those modules, at least for all that the source mentions.
    contents: Mapping[str, ModuleNames] = msgspec.field(default_factory=dict)
    #: Keyword arguments that `function` is called with, where its tables are bound by name.
    keywords: Sequence[str] = ()
    #: Where the source is one of several files: the package that it lies in, `""` at the top; None for a single source.
    package: str | None = None
    #: Where it is, all modules and packages that the files make up, dotted.
    siblings: Sequence[str] = ()
    #: The source is a module: its names are wanted, and what imports it may require what it imports.
    is_module: bool = False
    #: Nothing is checked: how this function wants to be called is wanted.
    describe: str | None = None


class ParameterInterface(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter of a function, as its source has it."""

    name: str
    #: Source text.
    annotation: str | None
    default: str | None
    required: bool
    keyword_only: bool


class FunctionInterface(msgspec.Struct, frozen=True, kw_only=True):
    """How a function wants to be called."""

    name: str
    parameters: list[ParameterInterface]
    takes_any_keyword: bool
    documentation: str
    #: Keys that it reads from its second parameter -> it can't do without.
    keys: dict[str, bool]


class Finding(msgspec.Struct, frozen=True):
    """Something wrong or doubtful, at a place of the source (1-based; line 0 stands for the source as a whole)."""

    line: int
    column: int
    message: str
    #: The line itself, cut to a window around the column.
    code: str = ""
    #: Where the column is within `code`, from 0.
    caret: int = 0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the examination of one source gave. Any error means that the source can't run."""

    errors: list[Finding] = msgspec.field(default_factory=list)
    warnings: list[Finding] = msgspec.field(default_factory=list)
    #: How many more errors there are than `errors` holds.
    more_errors: int = 0
    inferred_requirements: list[str] = msgspec.field(default_factory=list)
    imports: list[str] = msgspec.field(default_factory=list)
    module_dependencies: list[str] = msgspec.field(default_factory=list)
    #: The names of a module.
    contents: ModuleNames | None = None
    #: How the function that was asked for wants to be called.
    interface: FunctionInterface | None = None
    #: The process leaves after this answer, since the source made it large.
    leaving: bool = False


def send(connection: socket.socket, body: bytes) -> None:
    """Sends one frame."""
    connection.sendall(_LENGTH.pack(len(body)))
    connection.sendall(body)


def receive(connection: socket.socket, limit: int) -> bytes:
    """The next frame's body; EOFError if the other side is gone, ValueError if the frame is over `limit`."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > limit:
        raise ValueError(f"a frame of {length} bytes is over its limit of {limit}")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, size: int) -> bytes:
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError("the other side has closed the connection")
        view = view[count:]
    return bytes(buffer)

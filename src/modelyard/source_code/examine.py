"""The resident checker process: answers each request on the socket at descriptor 0 with a verdict.

Started by `resident.py` as `python -I -m modelyard.source_code.examine <seconds>` with an empty environment. It has
nothing worth taking and may die of any source. It limits its own memory and processor time, and leaves when the socket
closes, which is when the process that started it ends in whatever way.
"""

import ast
import gc
import resource
import socket
import sys
import threading
from pathlib import Path
from types import CodeType

import msgspec

from modelyard.source_code import frames
from modelyard.source_code.exports import read_names
from modelyard.source_code.frames import CheckRequest, Finding, Verdict
from modelyard.source_code.functions import check_functions
from modelyard.source_code.imports import check_imports
from modelyard.source_code.interfaces import read_interface
from modelyard.source_code.loads import loads_unbound
from modelyard.source_code.names import find_undefined
from modelyard.source_code.parsing import Lines, parse
from modelyard.source_code.statements import Statements, walk

#: Address space; a source of 10 MB of ordinary code needs about half of it.
MEMORY_LIMIT = 3 * 1024**3
#: Stack of the thread that examines; deep sources recurse in C.
STACK = 256 * 1024**2
#: Resident size above which the process leaves after an answer, in KiB.
LARGE_KIB = 400 * 1024
#: Findings that a verdict holds; further ones are counted.
MOST = 20
#: Characters above which pyflakes, the slowest of the looks, is left out where it would find nothing.
LARGE_SOURCE = 128 * 1024
READY = b"ready"


def examine(request: CheckRequest) -> Verdict:
    """All that can be said about a source without running any of it."""
    lines = Lines(request.source)
    parsed = parse(lines)
    if parsed.tree is None or parsed.code is None:
        return Verdict(errors=parsed.errors)
    if request.describe is not None:
        return Verdict(interface=read_interface(parsed.tree, request.describe))
    statements = walk(parsed.tree)
    function_errors, function_doubts = check_functions(statements, request, lines)
    imports = check_imports(statements, request, lines)
    name_errors, name_doubts = _undefined(parsed.tree, parsed.code, statements, lines, request)
    errors = _sorted([*function_errors, *imports.errors, *name_errors])
    return Verdict(
        errors=errors[:MOST],
        more_errors=max(0, len(errors) - MOST),
        warnings=_cut(_sorted([*parsed.warnings, *function_doubts, *imports.warnings, *name_doubts])),
        inferred_requirements=imports.inferred,
        imports=imports.names,
        module_dependencies=imports.modules,
        contents=read_names(parsed.tree, parsed.code, statements) if request.is_module else None,
    )


def _undefined(
    tree: ast.Module, code: CodeType, statements: Statements, lines: Lines, request: CheckRequest
) -> tuple[list[Finding], list[Finding]]:
    """Undefined names; a large source whose code loads none is not read a second time to look for them."""
    if len(lines.source) > LARGE_SOURCE and "TYPE_CHECKING" not in lines.source and not loads_unbound(code):
        return [], []
    return find_undefined(tree, statements, lines, request.contents)


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.line, finding.column))


def _cut(warnings: list[Finding]) -> list[Finding]:
    if len(warnings) <= MOST:
        return warnings
    return [*warnings[:MOST], Finding(0, 0, f"There are {len(warnings) - MOST} more warnings.")]


def serve(connection: socket.socket, seconds: int) -> None:
    """Answers requests until the other side closes."""
    decode = msgspec.json.Decoder(CheckRequest).decode
    gc.freeze()
    gc.disable()
    frames.send(connection, READY)
    while True:
        try:
            body = frames.receive(connection, 2**31)
        except EOFError:
            return
        _allow(seconds)
        verdict = examine(decode(body))
        leaving = _most_memory_kib() > LARGE_KIB
        frames.send(connection, msgspec.json.encode(msgspec.structs.replace(verdict, leaving=leaving)))
        if leaving:
            return
        del body, verdict
        gc.collect()


def _most_memory_kib() -> int:
    """The most memory that this process has had. Not `ru_maxrss`: that begins with what its parent had."""
    with Path("/proc/self/status").open(encoding="ascii", errors="replace") as status:
        return next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), 0)


def _allow(seconds: int) -> None:
    """Gives the coming request its processor time, counted on top of what was used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = used + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def _limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = MEMORY_LIMIT if most == resource.RLIM_INFINITY else min(MEMORY_LIMIT, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def main() -> None:
    """Serves in a thread with a large stack; any failure ends the process, and the other side sees that."""
    _limit()
    seconds = int(sys.argv[1])
    threading.stack_size(STACK)
    thread = threading.Thread(target=serve, args=(socket.socket(fileno=0), seconds))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()

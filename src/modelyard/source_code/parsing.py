"""Does the source compile: to a syntax tree, then to code that nobody runs.

The compiler is asked as well as the parser, since some errors are its own ('return' outside function, a name that is
both local and global). Constant folding is bounded by the compiler itself; depth is bounded by its recursion limit, and
where that fails, by this process being expendable.
"""

import ast
import re
import warnings
from types import CodeType
from typing import NamedTuple, cast

from modelyard.source_code.frames import Finding

FILENAME = "<source>"
#: Characters of a line that a finding shows.
WINDOW = 160
#: Characters of a finding's message; names in a source may be as long as it is.
LONGEST = 1000
_NEWLINE = re.compile(r"\r\n|\r|\n")
_COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)
_UTF8 = frozenset({"utf-8", "utf8", "utf_8", "u8", "ascii", "us-ascii"})
TOO_DEEP = (
    "The source is nested too deeply or too large to be compiled. Split long chains of operators, brackets, `elif` or "
    "attributes into several statements, and load large data from a table or file instead of writing it there."
)


class Parsed(NamedTuple):
    """A syntax tree and its code, or the error that stands in their way; and what the compiler warned of."""

    tree: ast.Module | None
    code: CodeType | None
    errors: list[Finding]
    warnings: list[Finding]


class Lines:
    """The lines of a source as Python counts them, split when first asked."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._lines: list[str] | None = None

    def finding(self, line: int, column: int, message: str) -> Finding:
        """A finding at a line and a column (1-based, in characters), with the line itself."""
        text = self.text(line)
        column = max(1, min(column, len(text) + 1))
        start = max(0, column - 1 - WINDOW // 2) if len(text) > WINDOW else 0
        shown = "".join(char if char.isprintable() else " " for char in text[start : start + WINDOW])
        return Finding(line, column, _cut(message), shown, column - 1 - start)

    def whole(self, message: str) -> Finding:
        """A finding about the source as a whole."""
        return Finding(0, 0, _cut(message))

    def at(self, node: ast.stmt | ast.expr | ast.arg | ast.alias, message: str) -> Finding:
        """A finding at a node, whose own column counts bytes."""
        before = self.text(node.lineno).encode("utf-8", "replace")[: node.col_offset]
        return self.finding(node.lineno, len(before.decode("utf-8", "replace")) + 1, message)

    def text(self, line: int) -> str:
        """The line of that number, "" where there is none."""
        if self._lines is None:
            self._lines = _NEWLINE.split(self.source)
        return self._lines[line - 1] if 0 < line <= len(self._lines) else ""


def _cut(message: str) -> str:
    return message if len(message) <= LONGEST else message[:LONGEST] + " ..."


def parse(lines: Lines) -> Parsed:
    """The syntax tree of a source that compiles, or the error that a user must mend first."""
    source = lines.source
    if "\0" in source:
        return Parsed(None, None, [_nul(lines)], [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            tree = _tree(source)
            code = compile(tree, FILENAME, "exec", flags=0, dont_inherit=True, optimize=0)
        except SyntaxError as error:
            return Parsed(None, None, [_syntax(error, lines)], [])
        except (RecursionError, MemoryError, OverflowError, SystemError):
            return Parsed(None, None, [Finding(0, 0, TOO_DEEP)], [])
        except ValueError as error:
            return Parsed(None, None, [Finding(0, 0, f"The source can't be read: {error}.")], [])
    return Parsed(tree, code, [], [*_cookies(lines), *_compiler_warnings(caught, lines)])


def _tree(source: str) -> ast.Module:
    tree = compile(source, FILENAME, "exec", flags=ast.PyCF_ONLY_AST, dont_inherit=True)
    return cast(ast.Module, tree)


def _syntax(error: SyntaxError, lines: Lines) -> Finding:
    message = f"{type(error).__name__}: {str(error.msg)[:500]}."
    if lines.source.startswith("\ufeff"):
        message += " The source begins with a byte order mark (U+FEFF): save it without one."
    elif isinstance(error, TabError | IndentationError):
        message += " Indent each block evenly, with spaces only."
    return lines.finding(error.lineno or 1, error.offset or 1, message)


def _nul(lines: Lines) -> Finding:
    before = _NEWLINE.split(lines.source[: lines.source.index("\0")])
    message = "The source holds a NUL character, which no Python source may. Is it a text file in UTF-8?"
    return lines.finding(len(before), len(before[-1]) + 1, message)


def _cookies(lines: Lines) -> list[Finding]:
    """Encoding declarations that ask for anything but UTF-8: a source arrives as text, so they say nothing."""
    found = []
    for number in (1, 2):
        cookie = _COOKIE.match(lines.text(number))
        if cookie and cookie[1].lower() not in _UTF8:
            message = f"The encoding declaration `{cookie[1]}` is ignored: source code is stored as UTF-8. Remove it."
            found.append(lines.finding(number, cookie.start(1) + 1, message))
    return found


def _compiler_warnings(caught: list[warnings.WarningMessage], lines: Lines) -> list[Finding]:
    return [
        lines.finding(warning.lineno, 1, f"Python warns: {warning.message}.")
        for warning in caught
        if issubclass(warning.category, SyntaxWarning)
    ]

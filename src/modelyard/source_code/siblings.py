"""Imports between the files of one piece of code: relative ones, and those of its own packages.

Called by `imports` in the checker's process, for each source that lies among others.
"""

import ast
from collections.abc import Sequence

from modelyard.source_code.frames import CheckRequest


def is_sibling(root: str, request: CheckRequest) -> bool:
    """Whether a top-level name is one of the code's own files or folders."""
    return any(each == root or each.startswith(f"{root}.") for each in request.siblings)


def sibling_error(node: ast.Import | ast.ImportFrom, package: str, siblings: Sequence[str]) -> str | None:
    """What is wrong with an import of the code's own files; None where nothing is."""
    if isinstance(node, ast.Import):
        own = {each.partition(".")[0] for each in siblings}
        asked = [alias.name for alias in node.names if alias.name.partition(".")[0] in own]
    elif not node.level:
        asked = [node.module or ""]
    else:
        parts = package.split(".") if package else []
        if node.level > len(parts):
            return (
                "This relative import leads out of the code: there is no package above the file. Import by full name."
            )
        base = parts[: len(parts) - node.level + 1]
        asked = [".".join([*base, node.module] if node.module else base)]
    missing = [each for each in asked if each not in siblings]
    return f"The code holds no module `{missing[0]}`." if missing else None

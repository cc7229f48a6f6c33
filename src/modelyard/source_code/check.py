"""The check of source code: what the house asks before it stores any, answered without importing or running it.

Called by the actions that take source (`models`, `feature_groups`), in any thread. A source that can't run is refused
with ConflictError, every finding with its line, its column, the line itself and what to do; what is only doubtful comes
back in the report. Reports are kept by the digest of their request, since clients send the same source again and again.
Source: updatePythonModel, Exceptions.
"""

import hashlib
import threading
from collections import OrderedDict

import msgspec

from modelyard.errors import ConflictError
from modelyard.settings import Settings
from modelyard.source_code.frames import (
    CheckRequest,
    Finding,
    FunctionInterface,
    ModuleNames,
    ParameterInterface,
    Verdict,
)
from modelyard.source_code.parsing import TOO_DEEP
from modelyard.source_code.resident import Residents, SourceKilledChecker, SourceTookTooLong

__all__ = [
    "CheckReport",
    "CheckRequest",
    "Checker",
    "Finding",
    "FunctionInterface",
    "ModuleNames",
    "ParameterInterface",
]

#: Reports kept; one is a few hundred bytes.
KEPT = 4096


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know about a source that can run."""

    warnings: list[Finding]
    #: Distributions to add to the environment beside the requirements.
    inferred_requirements: list[str]
    #: Top-level names of all that the source imports, sorted.
    imports: list[str]
    #: The organisation's modules that the source imports.
    module_dependencies: list[str]
    #: The names of a source that was checked as a module.
    contents: ModuleNames | None = None

    @property
    def publishing_msg(self) -> dict[str, object]:
        """The value of `codeSource.publishingMsg`; empty where there is nothing to say."""
        if not self.warnings and not self.inferred_requirements:
            return {}
        warnings = [{"line": each.line, "column": each.column, "message": each.message} for each in self.warnings]
        return {"warnings": warnings, "inferredRequirements": list(self.inferred_requirements)}


class Checker:
    """Checks sources in resident processes of its own, which start with the first request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._residents = Residents(settings.check_timeout_s)
        self._kept: OrderedDict[bytes, Verdict] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, request: CheckRequest) -> CheckReport:
        """The report on a source that can run as requested; ConflictError with all findings if it can't."""
        key = self._digest(request)
        verdict = self._recall(key)
        if verdict is None:
            verdict = self._examine(request)
            self._keep(key, verdict)
        if verdict.errors:
            raise ConflictError(_refusal(verdict))
        return CheckReport(
            warnings=verdict.warnings,
            inferred_requirements=verdict.inferred_requirements,
            imports=verdict.imports,
            module_dependencies=verdict.module_dependencies,
            contents=verdict.contents,
        )

    def describe(self, source: str, function_name: str) -> FunctionInterface | None:
        """How the function wants to be called; None where the source does not say."""
        request = CheckRequest(source=source, describe=function_name)
        key = self._digest(request)
        verdict = self._recall(key)
        if verdict is None:
            verdict = self._examine(request)
            self._keep(key, verdict)
        return verdict.interface

    @property
    def pids(self) -> list[int]:
        """The ids of the checker processes that live."""
        return self._residents.pids

    def close(self) -> None:
        """Ends the processes."""
        self._residents.close()

    def _examine(self, request: CheckRequest) -> Verdict:
        try:
            return self._residents.ask(request)
        except SourceKilledChecker as error:
            raise ConflictError(f"The source code is invalid: 1 problem.\n{TOO_DEEP}") from error
        except SourceTookTooLong as error:
            limit = f"{self._settings.check_timeout_s:g} seconds"
            message = f"The source code is invalid: 1 problem.\nChecking it took longer than {limit}. {TOO_DEEP}"
            raise ConflictError(message) from error

    def _digest(self, request: CheckRequest) -> bytes:
        """Identifies a request; refuses a source that is too large or no text, before it is handed on."""
        source = request.source
        try:
            size = len(source.encode())
        except UnicodeEncodeError as error:
            line = source.count("\n", 0, error.start) + 1
            raise ConflictError(
                f"The source code is invalid: 1 problem.\nline {line}: it holds half of a surrogate pair "
                f"(U+{ord(source[error.start]):04X}), which is no character. Send the source as valid UTF-8."
            ) from error
        if size > self._settings.source_limit:
            raise ConflictError(
                f"The source code is invalid: 1 problem.\nIt has {size:,} bytes, more than the limit of "
                f"{self._settings.source_limit:,}. Load large data from a table or file instead of writing it there."
            )
        return hashlib.sha256(msgspec.json.encode(request)).digest()

    def _recall(self, key: bytes) -> Verdict | None:
        with self._lock:
            verdict = self._kept.get(key)
            if verdict is not None:
                self._kept.move_to_end(key)
            return verdict

    def _keep(self, key: bytes, verdict: Verdict) -> None:
        with self._lock:
            self._kept[key] = verdict
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)


def _refusal(verdict: Verdict) -> str:
    count = len(verdict.errors) + verdict.more_errors
    parts = [f"The source code is invalid: {count} problem{'s' * (count != 1)}."]
    parts += map(_shown, verdict.errors)
    if verdict.more_errors:
        parts.append(f"... and {verdict.more_errors} more.")
    return "\n".join(parts)


def _shown(finding: Finding) -> str:
    if not finding.line:
        return finding.message
    shown = f"line {finding.line}, column {finding.column}: {finding.message}"
    return f"{shown}\n    {finding.code}\n    {' ' * finding.caret}^" if finding.code.strip() else shown

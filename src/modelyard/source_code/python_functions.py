"""Keeps Python functions: registered under a name, and used by feature groups that give values to their variables.

A change is a new revision. A feature group takes the newest one at its next materialisation, by name; its versions keep
what they were made with.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.database import Database, JsonObject
from modelyard.errors import AlreadyExistsError, ConflictError, DataNotFoundError, InvalidParameterError
from modelyard.ids import Digest, OrganizationId, PythonFunctionId, RevisionId, new_id
from modelyard.source_code import pins, texts, users
from modelyard.source_code.check import Checker, CheckReport, CheckRequest
from modelyard.source_code.records import FunctionType, PythonFunction, PythonFunctionRevision
from modelyard.source_code.variables import Variable, VariableType

#: Characters of a name.
LONGEST_NAME = 120
#: How often changes are checked anew because others changed the function meanwhile.
MOST_CHECKS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a revision holds, but for what its check finds."""

    source: str
    function_name: str
    variables: Sequence[Variable] = ()
    outputs: Sequence[JsonObject] = ()
    package_requirements: Sequence[str] = ()
    description: str | None = None
    examples: JsonObject | None = None
    timeout_s: int | None = None


def check_name(name: str) -> str:
    """The name, if a Python function may be registered under it."""
    if not name.isidentifier() or iskeyword(name) or len(name) > LONGEST_NAME:
        raise InvalidParameterError(
            f"{name[:60]!r} can't be a Python function's name: it must be a valid Python identifier, "
            f"{LONGEST_NAME} characters at most."
        )
    return name


def get_function(session: Session, organization_id: OrganizationId, name: str) -> PythonFunction:
    """The function; DataNotFoundError, naming the nearest one, if the organisation has none of that name."""
    mine = PythonFunction.organization_id == organization_id
    found = session.scalars(select(PythonFunction).where(mine, PythonFunction.name == name)).first()
    if found is None:
        names = session.scalars(select(PythonFunction.name).where(mine).limit(10_000)).all()
        near = difflib.get_close_matches(name[:120], names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataNotFoundError(f"Python function {name[:120]} was not found{hint}")
    return found


def create(call: Call, name: str, function_type: FunctionType, content: Content) -> None:
    """Keeps a new function."""
    check_name(name)
    _refuse_taken(call.session, call.organization_id, name)
    report = _check(call, call.session, content)
    with call.parts.get(Database).write() as session:
        _refuse_taken(session, call.organization_id, name)
        function = PythonFunction(
            python_function_id=PythonFunctionId(new_id()),
            organization_id=call.organization_id,
            name=name,
            function_type=function_type,
            head=RevisionId(new_id()),
            notebook_id=call.notebook_id,
            created_at=call.clock(),
        )
        session.add(function)
        session.flush()
        _keep(session, call, function, content, report)


def update(call: Call, name: str, changes: Mapping[str, Any]) -> None:
    """Changes a function: fields of `Content` that are given replace what was."""
    database = call.parts.get(Database)
    for _ in range(MOST_CHECKS):
        with database.read() as session:
            function = get_function(session, call.organization_id, name)
            seen = function.head
            content = replace(content_of(session, session.get_one(PythonFunctionRevision, seen)), **changes)
            report = _check(call, session, content)
        with database.write() as session:
            function = get_function(session, call.organization_id, name)
            session.refresh(function, with_for_update=True)
            if function.head != seen:
                continue
            function.head = RevisionId(new_id())
            function.notebook_id = call.notebook_id or function.notebook_id
            _keep(session, call, function, content, report)
            return
    raise ConflictError(f"The Python function {name} is being changed by others all the time; try again.")


def delete(session: Session, organization_id: OrganizationId, name: str) -> None:
    """Removes a function that no feature group is made by; ConflictError names those that are."""
    function = get_function(session, organization_id, name)
    session.refresh(function, with_for_update=True)
    users.check_unused(session, organization_id, users.FUNCTION, name)
    users.forget_user(session, users.FUNCTION, function.python_function_id)
    session.delete(function)


def content_of(session: Session, revision: PythonFunctionRevision) -> Content:
    """What the revision holds."""
    return Content(
        source=texts.read_texts(session, [revision.source_digest])[revision.source_digest],
        function_name=revision.function_name,
        variables=msgspec.convert(revision.variables, list[Variable]),
        outputs=revision.outputs,
        package_requirements=revision.package_requirements,
        description=revision.description,
        examples=revision.examples,
        timeout_s=revision.timeout_s,
    )


def heads_of(session: Session, functions: Sequence[PythonFunction]) -> list[PythonFunctionRevision]:
    """The newest revision of each, in that order."""
    query = select(PythonFunctionRevision).where(
        PythonFunctionRevision.revision_id.in_([each.head for each in functions])
    )
    found = {revision.revision_id: revision for revision in session.scalars(query)}
    return [found[each.head] for each in functions]


def _check(call: Call, session: Session, content: Content) -> CheckReport:
    known = pins.known_modules(session, call.organization_id, content.source)
    session.rollback()  # the check may take seconds; nothing is kept open meanwhile
    names = [each.name for each in content.variables]
    required = [each.name for each in content.variables if each.is_required]
    request = CheckRequest(
        source=content.source,
        functions={"function" if names else "callable": content.function_name},
        requirements=content.package_requirements,
        modules=known.names,
        contents=known.contents,
        keywords=names,
    )
    checker = call.parts.get(Checker)
    report = checker.check(request)
    if len(required) < len(names):  # without the others it must be callable, too
        checker.check(msgspec.structs.replace(request, keywords=required))
    return report


def _keep(session: Session, call: Call, function: PythonFunction, content: Content, report: CheckReport) -> None:
    """Writes the revision that the function's head names already."""
    _check_variables(function, content)
    source_digest = texts.put_text(session, content.source)
    session.add(
        PythonFunctionRevision(
            revision_id=function.head,
            python_function_id=function.python_function_id,
            source_digest=source_digest,
            function_name=content.function_name,
            variables=msgspec.to_builtins(list(content.variables)),
            outputs=list(content.outputs),
            package_requirements=list(content.package_requirements),
            inferred_requirements=report.inferred_requirements,
            module_dependencies=report.module_dependencies,
            publishing_msg=report.publishing_msg,
            description=content.description,
            examples=content.examples,
            timeout_s=content.timeout_s,
            digest=_digest(source_digest, content, report),
            created_by=call.principal.user_id,
            created_at=call.clock(),
        )
    )
    users.note_users(
        session, call.organization_id, users.FUNCTION, function.python_function_id, function.name,
        modules=report.module_dependencies,
    )  # fmt: skip


def _check_variables(function: PythonFunction, content: Content) -> None:
    untyped = [each.name for each in content.variables if each.variable_type is None]
    if untyped:
        raise InvalidParameterError(f"functionVariableMappings: the variable {untyped[0]} needs a variableType.")
    if content.timeout_s is not None and function.function_type != FunctionType.USERCODE_TOOL:
        raise InvalidParameterError("timeout is only for functions of the type USERCODE_TOOL.")
    files = [each.name for each in content.variables if each.variable_type == VariableType.ATTACHMENT]
    if files and function.function_type == FunctionType.FEATURE_GROUP:
        raise InvalidParameterError(
            f"functionVariableMappings: {files[0]} is an ATTACHMENT, which no feature group can give."
        )


def _digest(source_digest: Digest, content: Content, report: CheckReport) -> Digest:
    defaults = {each.name: each.value for each in content.variables if each.value is not None}
    material = [
        source_digest,
        content.function_name,
        sorted([*content.package_requirements, *report.inferred_requirements]),
        defaults,
    ]
    return texts.digest_of(msgspec.json.encode(material, order="sorted").decode())


def _refuse_taken(session: Session, organization_id: OrganizationId, name: str) -> None:
    query = select(PythonFunction.name).where(
        PythonFunction.organization_id == organization_id, PythonFunction.name == name
    )
    if session.execute(query).first() is not None:
        raise AlreadyExistsError(f"There is a Python function {name} already; change it with updatePythonFunction.")

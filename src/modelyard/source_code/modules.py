"""Keeps modules: source that models, feature groups and functions of the organisation import by name.

A module may define whatever it likes; its imports and its undefined names are checked like any source's. What it
defines is kept with it, so that whatever imports it can be checked without reading it again.
"""

import difflib
import re
import sys
from keyword import iskeyword

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.actions import Call
from modelyard.database import Database
from modelyard.errors import AlreadyExistsError, DataNotFoundError, InvalidParameterError
from modelyard.ids import OrganizationId, RevisionId, new_id
from modelyard.source_code import pins, texts, users
from modelyard.source_code.check import Checker, CheckReport, CheckRequest, ModuleNames
from modelyard.source_code.distributions import BASE
from modelyard.source_code.records import Module, ModuleRevision

#: Characters of a name.
LONGEST_NAME = 120
_NAME = re.compile(r"[a-z_]*[a-z][a-z_]*", re.ASCII)
_BASE_NAMES = frozenset(name for names in BASE.values() for name in names)


def check_name(name: str) -> str:
    """The name, if a module may be called so: by an `import` that finds nothing else."""
    shown = repr(name[:60])
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise InvalidParameterError(
            f"{shown} can't be a module's name: only lower case letters and underscores are allowed, "
            f"{LONGEST_NAME} at most."
        )
    if iskeyword(name):
        raise InvalidParameterError(f"{shown} can't be a module's name: it is a word of the language.")
    if name in sys.stdlib_module_names or name in _BASE_NAMES or name.startswith(("modelyard", "__")):
        raise InvalidParameterError(f"{shown} can't be a module's name: `import {name}` means something else already.")
    return name


def get_module(session: Session, organization_id: OrganizationId, name: str) -> Module:
    """The module; DataNotFoundError, naming the nearest one, if the organisation has none of that name."""
    module = session.get(Module, (organization_id, name))
    if module is None:
        query = select(Module.name).where(Module.organization_id == organization_id).limit(10_000)
        near = difflib.get_close_matches(name[:120], session.scalars(query).all(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataNotFoundError(f"Module {name[:120]} was not found{hint}")
    return module


def create(call: Call, name: str, source: str) -> None:
    """Keeps a new module."""
    check_name(name)
    _refuse_taken(call.session, call.organization_id, name)
    report = _check(call, name, source)
    with call.parts.get(Database).write() as session:
        _refuse_taken(session, call.organization_id, name)
        revision = _revision(session, call, name, source, report)
        session.add(
            Module(
                organization_id=call.organization_id,
                name=name,
                head=revision.revision_id,
                notebook_id=call.notebook_id,
                created_at=call.clock(),
            )
        )
        _note(session, call, name, report)


def update(call: Call, name: str, source: str) -> None:
    """Gives a module another source. What was made with the former one keeps it, and is outdated from now on."""
    module = get_module(call.session, call.organization_id, name)
    head = call.session.get_one(ModuleRevision, module.head)
    report = _check(call, name, source)
    is_same = head.source_digest == texts.digest_of(source) and head.module_dependencies == report.module_dependencies
    if is_same:
        return
    with call.parts.get(Database).write() as session:
        module = _locked(session, call.organization_id, name)
        module.head = _revision(session, call, name, source, report).revision_id
        module.notebook_id = call.notebook_id or module.notebook_id
        _note(session, call, name, report)


def delete(session: Session, organization_id: OrganizationId, name: str) -> None:
    """Removes a module that nothing imports; ConflictError names what does."""
    module = _locked(session, organization_id, name)
    users.check_unused(session, organization_id, users.MODULE, name)
    users.forget_user(session, users.MODULE, _user_id(organization_id, name))
    session.delete(module)


def _check(call: Call, name: str, source: str) -> CheckReport:
    known = pins.known_modules(call.session, call.organization_id, source)
    call.session.rollback()  # the check may take seconds; nothing is kept open meanwhile
    return call.parts.get(Checker).check(
        CheckRequest(source=source, modules=sorted({*known.names, name}), contents=_others(known, name), is_module=True)
    )


def _others(known: pins.KnownModules, name: str) -> dict[str, ModuleNames]:
    """What the other modules define; what this one will is what is being checked."""
    return {each: contents for each, contents in known.contents.items() if each != name}


def _revision(session: Session, call: Call, name: str, source: str, report: CheckReport) -> ModuleRevision:
    revision = ModuleRevision(
        revision_id=RevisionId(new_id()),
        organization_id=call.organization_id,
        name=name,
        source_digest=texts.put_text(session, source),
        module_dependencies=[each for each in report.module_dependencies if each != name],
        inferred_requirements=report.inferred_requirements,
        publishing_msg=report.publishing_msg,
        contents=msgspec.to_builtins(report.contents),
        created_by=call.principal.user_id,
        created_at=call.clock(),
    )
    session.add(revision)
    return revision


def _note(session: Session, call: Call, name: str, report: CheckReport) -> None:
    session.flush()
    user_id = _user_id(call.organization_id, name)
    users.note_users(session, call.organization_id, users.MODULE, user_id, name, modules=report.module_dependencies)


def _user_id(organization_id: OrganizationId, name: str) -> str:
    """Names of modules are an organisation's own."""
    return f"{organization_id}/{name}"


def _locked(session: Session, organization_id: OrganizationId, name: str) -> Module:
    module = get_module(session, organization_id, name)
    session.refresh(module, with_for_update=True)
    return module


def _refuse_taken(session: Session, organization_id: OrganizationId, name: str) -> None:
    if session.get(Module, (organization_id, name)) is not None:
        raise AlreadyExistsError(f"There is a module {name} already; change it with updateModule.")

"""Which modules a source needs, all the way down, and exactly what each of them held.

Whoever makes something of a source (a training, a materialisation) asks `Modules.pins` when the work is put on the
table, keeps the answer with the version, and gives the guest exactly those texts (`read_sources`). Comparing a
version's pins with those of today says whether it is out of date: nothing has to be written when a module changes.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.ids import Digest, OrganizationId
from modelyard.source_code.check import ModuleNames
from modelyard.source_code.records import Module, ModuleRevision
from modelyard.source_code.texts import read_texts


class Pins(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The modules that something was made with."""

    #: Name -> digest of its source.
    modules: dict[str, Digest] = {}
    #: Packages that the modules need beside those of the source.
    requirements: list[str] = []
    #: What a registered function was, by its digest.
    function: Digest | None = None

    @classmethod
    def of(cls, kept: object) -> "Pins":
        """The pins as a JSON column holds them; None is none."""
        return msgspec.convert(kept or {}, cls)

    @property
    def as_json(self) -> dict[str, object]:
        """As a JSON column holds them."""
        return dict(msgspec.to_builtins(self))


class _Head(NamedTuple):
    digest: Digest
    dependencies: list[str]
    requirements: list[str]


class Modules:
    """An organisation's modules as they are now, without their sources; read when first asked for."""

    def __init__(self, session: Session, organization_id: OrganizationId) -> None:
        self._session, self._organization_id = session, organization_id
        self._heads: dict[str, _Head] | None = None

    def pins(self, names: Sequence[str]) -> Pins:
        """The modules of those names and all that they import. One that is gone pins nothing: importing it fails."""
        if not names:
            return Pins()
        found = {name: self._known[name] for name in self._closure(names)}
        requirements = [each for name in sorted(found) for each in found[name].requirements]
        return Pins(
            modules={name: found[name].digest for name in sorted(found)},
            requirements=list(dict.fromkeys(requirements)),
        )

    def dependencies(self, names: Sequence[str]) -> list[str]:
        """The modules of those names and all that they import: first those named, in order, then the others."""
        return self._closure(names) if names else []

    def _closure(self, names: Sequence[str]) -> list[str]:
        found: dict[str, None] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop(0)
            if name not in found and name in self._known:
                found[name] = None
                waiting.extend(self._known[name].dependencies)
        return list(found)

    @property
    def _known(self) -> dict[str, _Head]:
        if self._heads is None:
            query = (
                select(
                    ModuleRevision.name,
                    ModuleRevision.source_digest,
                    ModuleRevision.module_dependencies,
                    ModuleRevision.inferred_requirements,
                )
                .join(Module, Module.head == ModuleRevision.revision_id)
                .where(Module.organization_id == self._organization_id)
            )
            self._heads = {row[0]: _Head(row[1], row[2], row[3]) for row in self._session.execute(query)}
        return self._heads


class KnownModules(NamedTuple):
    """What a check has to know of the modules: all their names, and what those define that a source mentions."""

    names: Sequence[str] = ()
    contents: dict[str, ModuleNames] = {}  # noqa: RUF012 - never changed


def known_modules(session: Session, organization_id: OrganizationId, source: str) -> KnownModules:
    """What the check of `source` has to know of the organisation's modules."""
    query = select(Module.name).where(Module.organization_id == organization_id).order_by(Module.name)
    names = session.scalars(query).all()
    contents: dict[str, ModuleNames] = {}
    waiting = {name for name in names if name in source}
    while waiting:
        contents |= _contents(session, organization_id, waiting)
        waiting = {star for each in waiting if each in contents for star in contents[each].stars} - contents.keys()
        waiting &= set(names)
    return KnownModules(names, contents)


def read_sources(session: Session, pins: Pins) -> dict[str, str]:
    """The sources of those modules, as they were pinned: name -> text."""
    texts = read_texts(session, pins.modules.values())
    return {name: texts[digest] for name, digest in pins.modules.items()}


def _contents(session: Session, organization_id: OrganizationId, names: Iterable[str]) -> dict[str, ModuleNames]:
    query = (
        select(ModuleRevision.name, ModuleRevision.contents)
        .join(Module, Module.head == ModuleRevision.revision_id)
        .where(Module.organization_id == organization_id, Module.name.in_(names))
    )
    return {name: msgspec.convert(contents, ModuleNames) for name, contents in session.execute(query)}

"""What a group's code is now: the registered function that it names, and the modules that are imported.

A group's definition names both; what they hold may change under it. A version gets the definition with the function's
content filled in, and the digests of all that; comparing those digests with today's says whether the group is out of
date.
"""

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.feature_groups.definition import Definition
from modelyard.feature_groups.records import FeatureGroup
from modelyard.ids import Digest, OrganizationId
from modelyard.source_code.pins import Modules, Pins
from modelyard.source_code.python_functions import heads_of
from modelyard.source_code.records import PythonFunction, PythonFunctionRevision
from modelyard.source_code.texts import read_texts
from modelyard.source_code.variables import Variable, VariableType, check_value


class Code:
    """The code of groups as it is now; read when first asked for, once for them all."""

    def __init__(self, session: Session, groups: Sequence[FeatureGroup]) -> None:
        self._session = session
        self._definitions = {group.feature_group_id: group.made_from for group in groups}
        self._organizations = {group.feature_group_id: group.organization_id for group in groups}
        self._modules: dict[OrganizationId, Modules] = {}
        self._functions: Mapping[tuple[OrganizationId, str], PythonFunctionRevision] | None = None
        self._sources: dict[Digest, str] | None = None

    def pins(self, group: FeatureGroup) -> Pins:
        """What the group's code is, by digests."""
        definition = self._definitions[group.feature_group_id]
        if not definition.modules and definition.python_function is None:
            return Pins()
        revision = self.function(group)
        modules = self._modules_of(group.organization_id).pins(self._names(definition, revision))
        return modules if revision is None else msgspec.structs.replace(modules, function=revision.digest)

    def dependencies(self, group: FeatureGroup) -> list[str]:
        """All modules that the group's code needs."""
        definition = self._definitions[group.feature_group_id]
        names = self._names(definition, self.function(group))
        return self._modules_of(group.organization_id).dependencies(names)

    def resolve(self, group: FeatureGroup) -> Definition:
        """The group's definition, with the content of the registered function that it names."""
        definition, revision = self._definitions[group.feature_group_id], self.function(group)
        if revision is None:
            return definition
        if self._sources is None:
            self._sources = read_texts(self._session, [each.source_digest for each in self._heads().values()])
        given = {each.binding for each in definition.inputs} | set(definition.arguments)
        return msgspec.structs.replace(
            definition,
            source_code=self._sources[revision.source_digest],
            function_name=revision.function_name,
            requirements=tuple(dict.fromkeys([*revision.package_requirements, *revision.inferred_requirements])),
            modules=tuple(revision.module_dependencies),
            arguments=_defaults(revision, given) | definition.arguments,
        )

    def check_report(self, group: FeatureGroup) -> JsonObject | None:
        """What the check of the group's code had to say, as `shapes.CheckNotes`."""
        revision = self.function(group)
        if revision is None:
            return group.check_report
        return {"requirements": revision.package_requirements, "publishingMsg": revision.publishing_msg}

    def function(self, group: FeatureGroup) -> PythonFunctionRevision | None:
        """The registered function's newest revision; None for a group that has its own source."""
        name = self._definitions[group.feature_group_id].python_function
        if name is None:
            return None
        return self._heads()[group.organization_id, name]

    def _names(self, definition: Definition, revision: PythonFunctionRevision | None) -> list[str]:
        return list(definition.modules if revision is None else revision.module_dependencies)

    def _modules_of(self, organization_id: OrganizationId) -> Modules:
        return self._modules.setdefault(organization_id, Modules(self._session, organization_id))

    def _heads(self) -> Mapping[tuple[OrganizationId, str], PythonFunctionRevision]:
        if self._functions is None:
            self._functions = self._read_heads()
        return self._functions

    def _read_heads(self) -> Mapping[tuple[OrganizationId, str], PythonFunctionRevision]:
        names = {each.python_function for each in self._definitions.values() if each.python_function is not None}
        query = select(PythonFunction).where(
            PythonFunction.organization_id.in_(set(self._organizations.values())), PythonFunction.name.in_(names)
        )
        found = self._session.scalars(query).all()
        heads = heads_of(self._session, found)
        return {(each.organization_id, each.name): head for each, head in zip(found, heads, strict=True)}


def _defaults(revision: PythonFunctionRevision, given: set[str | None]) -> dict[str, object]:
    """The values that the function's own variables have where the group gives none."""
    variables = msgspec.convert(revision.variables, list[Variable])
    return {
        each.name: check_value(each)
        for each in variables
        if each.value is not None and each.name not in given and each.variable_type != VariableType.FEATURE_GROUP
    }

"""Turns modules and functions into what callers see, in as few queries for a list as for one."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.clock import iso
from modelyard.ids import OrganizationId
from modelyard.source_code.pins import Modules
from modelyard.source_code.python_functions import heads_of
from modelyard.source_code.records import Module, ModuleRevision, PythonFunction
from modelyard.source_code.texts import read_texts
from modelyard.source_code.variables import Variable
from modelyard.source_code.wire import CodeShape, ModuleShape, PythonFunctionShape


def module_shapes(session: Session, organization_id: OrganizationId, modules: Sequence[Module]) -> list[ModuleShape]:
    """The modules, in that order."""
    query = select(ModuleRevision).where(ModuleRevision.revision_id.in_([each.head for each in modules]))
    heads = {revision.revision_id: revision for revision in session.scalars(query)}
    sources = read_texts(session, [heads[each.head].source_digest for each in modules])
    known = Modules(session, organization_id)
    return [
        ModuleShape(
            name=each.name,
            created_at=iso(each.created_at),
            notebook_id=each.notebook_id,
            hide_module_code=False,
            code_source=code_shape(
                sources[heads[each.head].source_digest],
                requirements=[],
                publishing_msg=heads[each.head].publishing_msg,
                modules=[
                    name for name in known.dependencies(heads[each.head].module_dependencies) if name != each.name
                ],
            ),
        )
        for each in modules
    ]


def function_shapes(
    session: Session, organization_id: OrganizationId, functions: Sequence[PythonFunction]
) -> list[PythonFunctionShape]:
    """The functions, in that order."""
    heads = heads_of(session, functions)
    sources = read_texts(session, [head.source_digest for head in heads])
    known = Modules(session, organization_id)
    return [
        PythonFunctionShape(
            notebook_id=function.notebook_id,
            name=function.name,
            created_at=iso(function.created_at),
            function_variable_mappings=[each.shown for each in msgspec.convert(head.variables, list[Variable])],
            output_variable_mappings=head.outputs,
            function_name=head.function_name,
            python_function_id=function.python_function_id,
            function_type=function.function_type,
            package_requirements=head.package_requirements,
            description=head.description,
            examples=head.examples,
            connectors={},
            configurations={} if head.timeout_s is None else {"timeout": head.timeout_s},
            code_source=code_shape(
                sources[head.source_digest],
                requirements=head.package_requirements,
                publishing_msg=head.publishing_msg,
                modules=known.dependencies(head.module_dependencies),
            ),
        )
        for function, head in zip(functions, heads, strict=True)
    ]


def code_shape(
    source: str, *, requirements: list[str], publishing_msg: dict[str, Any], modules: list[str]
) -> CodeShape:
    """A source that passed its check."""
    return CodeShape(
        source_type="TEXT",
        source_code=source,
        application_connector_id=None,
        application_connector_info=None,
        package_requirements=requirements,
        status="COMPLETE",
        error=None,
        publishing_msg=publishing_msg,
        module_dependencies=modules,
    )

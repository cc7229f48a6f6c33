"""The shapes of modules and Python functions that callers see.

Source: the SDK's `module.py`, `python_function.py`, `code_source.py`.
"""

from typing import Any

import msgspec


class CodeShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A source, and what the check said."""

    source_type: str
    source_code: str | None
    application_connector_id: str | None
    application_connector_info: str | None
    package_requirements: list[str]
    status: str
    error: str | None
    publishing_msg: dict[str, Any]
    #: All modules that the source needs, those that its modules import too.
    module_dependencies: list[str]


class ModuleShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A module with what it holds now."""

    name: str
    created_at: str | None
    notebook_id: str | None
    hide_module_code: bool
    code_source: CodeShape


class PythonFunctionShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A registered function as it is now."""

    notebook_id: str | None
    name: str
    created_at: str | None
    #: Every key in snake_case, as the SDK reads it, and in camelCase, as it sends it.
    function_variable_mappings: list[dict[str, Any]]
    output_variable_mappings: list[dict[str, Any]]
    function_name: str
    python_function_id: str
    function_type: str
    package_requirements: list[str]
    description: str | None
    examples: dict[str, Any] | None
    connectors: dict[str, Any]
    configurations: dict[str, Any]
    code_source: CodeShape

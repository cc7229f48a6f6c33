"""The tables of this room: modules and Python functions, each with its newest content, and all that they ever held.

A change writes an immutable revision and points the head at it. What was made with an older one has pinned that one's
digest, under which the text stays for ever, even after its module is deleted.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.database import JsonObject, Record
from modelyard.ids import Digest, OrganizationId, PythonFunctionId, RevisionId, UserId


class FunctionType(StrEnum):
    """What a Python function is for. Source: the SDK's PythonFunctionType."""

    #: Gives the rows of a feature group.
    FEATURE_GROUP = "FEATURE_GROUP"
    #: Draws a plotly figure; kept, and run where the client is.
    PLOTLY_FIG = "PLOTLY_FIG"
    #: A step of a pipeline; kept likewise.
    STEP_FUNCTION = "STEP_FUNCTION"
    #: A tool; kept likewise.
    USERCODE_TOOL = "USERCODE_TOOL"
    #: A tool that reaches through a connector; refused, for there are none.
    CONNECTOR_TOOL = "CONNECTOR_TOOL"
    #: A tool made from a template; refused, for there are none.
    TEMPLATE_TOOL = "TEMPLATE_TOOL"


class SourceText(Record):
    """A source code, under the sha256 of its UTF-8 bytes."""

    __tablename__ = "source_texts"

    digest: Mapped[Digest] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class Module(Record):
    """A module by name: what `import name` gives now."""

    __tablename__ = "modules"

    organization_id: Mapped[OrganizationId] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    #: The newest revision.
    head: Mapped[RevisionId]
    notebook_id: Mapped[str | None]
    created_at: Mapped[datetime]


class ModuleRevision(Record):
    """What a module held at one time. Never changed."""

    __tablename__ = "module_revisions"

    revision_id: Mapped[RevisionId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId] = mapped_column(index=True)
    name: Mapped[str]
    source_digest: Mapped[Digest] = mapped_column(ForeignKey("source_texts.digest"))
    #: The organisation's modules that it imports itself.
    module_dependencies: Mapped[list[str]]
    #: Packages that the check of the source found it to need.
    inferred_requirements: Mapped[list[str]]
    publishing_msg: Mapped[JsonObject]
    #: The names that it defines, as `frames.ModuleNames`.
    contents: Mapped[JsonObject]
    created_by: Mapped[UserId]
    created_at: Mapped[datetime]


class PythonFunction(Record):
    """A registered function by name."""

    __tablename__ = "python_functions"
    __table_args__ = (UniqueConstraint("organization_id", "name"),)

    python_function_id: Mapped[PythonFunctionId] = mapped_column(primary_key=True)
    organization_id: Mapped[OrganizationId]
    name: Mapped[str]
    function_type: Mapped[FunctionType] = mapped_column(Text)
    #: The newest revision.
    head: Mapped[RevisionId]
    notebook_id: Mapped[str | None]
    created_at: Mapped[datetime]


class PythonFunctionRevision(Record):
    """What a registered function was at one time. Never changed."""

    __tablename__ = "python_function_revisions"

    revision_id: Mapped[RevisionId] = mapped_column(primary_key=True)
    python_function_id: Mapped[PythonFunctionId] = mapped_column(
        ForeignKey("python_functions.python_function_id", ondelete="CASCADE"), index=True
    )
    source_digest: Mapped[Digest] = mapped_column(ForeignKey("source_texts.digest"))
    function_name: Mapped[str]
    #: Parameters of the function, as `variables.Variable`.
    variables: Mapped[list[dict[str, Any]]]
    #: What it returns, as the caller described it.
    outputs: Mapped[list[dict[str, Any]]]
    #: Requirements as the user gave them, normalised.
    package_requirements: Mapped[list[str]]
    inferred_requirements: Mapped[list[str]]
    module_dependencies: Mapped[list[str]]
    publishing_msg: Mapped[JsonObject]
    description: Mapped[str | None] = mapped_column(Text)
    examples: Mapped[JsonObject | None]
    timeout_s: Mapped[int | None]
    #: Equal for revisions that give equal results: source, function, packages.
    digest: Mapped[Digest]
    created_by: Mapped[UserId]
    created_at: Mapped[datetime]


class SourceUser(Record):
    """Something that stands on a module or a Python function, so that this is not deleted under it."""

    __tablename__ = "source_users"

    organization_id: Mapped[OrganizationId] = mapped_column(primary_key=True)
    #: "module" or "Python function".
    source_kind: Mapped[str] = mapped_column(primary_key=True)
    source_name: Mapped[str] = mapped_column(primary_key=True)
    #: "model", "feature group", "module" ...
    kind: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    #: What callers are told it is called.
    name: Mapped[str]

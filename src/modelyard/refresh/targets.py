"""What can be refreshed: each slice above registers its kind here, and refresh never learns what it is."""

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy.orm import Session

from modelyard.database import JsonObject
from modelyard.errors import InvalidParameterError
from modelyard.ids import OrganizationId, ProjectId
from modelyard.refresh.records import RefreshType


class Progress(NamedTuple):
    """How far a version that a refresh began has come."""

    ended: bool
    error: str | None = None


class Refreshable(NamedTuple):
    """One kind of thing that can be made anew."""

    #: Raises DataNotFoundError unless the organisation has that target, or another error if it can't be refreshed.
    check: Callable[[Session, OrganizationId, str], None]
    #: All targets of the kind that belong to a project now.
    in_project: Callable[[Session, ProjectId], list[str]]
    #: Begins a new version within the transaction and gives its id.
    start: Callable[[Session, str], str]
    #: How far that version has come.
    progress: Callable[[Session, str], Progress]
    #: What is to become of a version beyond that, as the policy's `featureGroupExportConfig` says it.
    export: "Exporting | None" = None


class Exporting(NamedTuple):
    """How versions of a kind leave the house."""

    #: Raises an error for a config that can't be used by the organisation.
    check: Callable[[Session, OrganizationId, JsonObject], None]
    #: Has a version, given by its id, exported as soon as it is there; `progress` then tells of that, too.
    start: Callable[[Session, str, JsonObject], None]


class Refreshers:
    """The registered kinds."""

    def __init__(self) -> None:
        self._kinds: dict[RefreshType, Refreshable] = {}

    def register(self, kind: RefreshType, refreshable: Refreshable) -> None:
        """Tells how things of that kind are made anew; called once for each kind when the house is put together."""
        self._kinds[kind] = refreshable

    def get(self, kind: RefreshType) -> Refreshable:
        """The kind's functions; InvalidParameterError if nothing of the kind can be refreshed here."""
        try:
            return self._kinds[kind]
        except KeyError:
            known = ", ".join(self._kinds)
            raise InvalidParameterError(f"{kind} can't be refreshed here, only {known or 'nothing yet'}") from None

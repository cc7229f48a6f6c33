"""`GET /metrics`: closed to all but an administrator's API key and, where the operator set one, the scraper's token.

An administrator sees their organisation's deployments and runs. Whoever has the operator's `metrics_token` sees those
of all organisations, and the platform's own machinery; so does an administrator of the only organisation there is.
"""

import secrets
import threading
import time

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response

from modelyard.accounts.keys import Holder
from modelyard.accounts.records import Role
from modelyard.api.envelope import failure
from modelyard.api.guard import HostGuard
from modelyard.api.keyring import Keyring
from modelyard.errors import ApiError, GenericPermissionDeniedError, InternalServerError, PermissionDeniedError
from modelyard.ids import OrganizationId, new_id
from modelyard.observability.exposition import CONTENT_TYPE, Exposition
from modelyard.settings import Settings

#: Seconds for which one scrape's text is given to the next one, so that asking again and again costs little.
FRESH_S = 1.0
Whose = OrganizationId | None


class Metrics:
    """The route. Called in a thread."""

    def __init__(self, exposition: Exposition, keys: Keyring, settings: Settings) -> None:
        self._exposition, self._keys, self._token = exposition, keys, settings.metrics_token
        self._guard = HostGuard(settings)
        self._scraping = threading.Lock()
        self._scraped: dict[Whose, tuple[float, bytes]] = {}

    def answer(self, request: Request) -> Response:
        """The metrics that the caller may see."""
        try:
            self._guard.check_host(request)
            whose = self._whose(request)
        except ApiError as error:
            return failure(error, new_id() + new_id())
        except SQLAlchemyError:
            # The operator's token needs no database, so a scraper sees this in `modelyard_database_up`.
            return failure(
                InternalServerError("The database does not answer; try again in a moment"), new_id() + new_id()
            )
        return Response(self._text(whose), headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})

    def _whose(self, request: Request) -> Whose:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("apikey", "")
        if self._token and secrets.compare_digest(given.encode(), self._token.encode()):
            return None
        holder = self._find(given) if given else None
        if holder is None:
            raise GenericPermissionDeniedError(
                "Metrics are for administrators: send an API key, or the operator's metrics_token, as "
                "`Authorization: Bearer ...`"
            )
        if holder.role is not Role.ADMIN:
            raise PermissionDeniedError(f"A user with the role {holder.role} may not read the metrics")
        return holder.principal.organization_id

    def _find(self, key: str) -> Holder | None:
        checked = self._keys.trusted(key)
        return checked.holder if checked else self._keys.find(key)

    def _text(self, whose: Whose) -> bytes:
        with self._scraping:
            at, text = self._scraped.get(whose, (0.0, b""))
            if time.monotonic() - at > FRESH_S or not text:
                text = self._exposition.text(whose)
                self._scraped = {each: kept for each, kept in self._scraped.items() if kept[0] > time.monotonic() - 60}
                self._scraped[whose] = time.monotonic(), text
            return text

"""The ASGI application: the fast lane for predictions first, then the routes of the door.

Routes: `/api/v0/{action}`, `/api/{action}` (what the client calls the proxy), `/exports/{link}/{name}` (files for those
who have the link), `/metrics` (administrators and scrapers), `/openapi.json`, `/healthz`.
"""

import os
import re
from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from modelyard.actions import Action
from modelyard.api.door import Door
from modelyard.api.envelope import failure
from modelyard.api.metrics import Metrics
from modelyard.api.openapi import document
from modelyard.errors import Generic404Error
from modelyard.ids import new_id

VERBS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
ACTION = re.compile(r"/api/(?P<version>v0/)?(?P<action>[^/]+)")
#: Gives what is not well, empty when all is.
HealthCheck = Callable[[], list[str]]


def build_application(door: Door, actions: Mapping[str, Action], health: HealthCheck, metrics: Metrics) -> ASGIApp:
    """The application without the fast lane, which `app.py` puts in front of it."""

    def healthz(_: Request) -> Response:
        problems = health()
        return JSONResponse({"ok": not problems, "problems": problems}, 503 if problems else 200)

    def openapi(_: Request) -> Response:
        return JSONResponse(document(actions))

    def nowhere(_: Request, __: Exception) -> Response:
        return failure(Generic404Error("There is nothing here: actions are called under /api/v0/"), new_id())

    application = Starlette(
        routes=[
            Route("/exports/{link}/{name}", door.download, methods=["GET", "HEAD"]),
            Route("/healthz", healthz, methods=["GET"]),
            Route("/metrics", metrics.answer, methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
        ],
        exception_handlers={404: nowhere},
    )

    async def to_the_door(scope: Scope, receive: Receive, send: Send) -> None:
        # Past Starlette's router and middlewares, which would cost a call as much as its decoding does.
        found = ACTION.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] in VERBS else None
        if found is None:
            await application(scope, receive, send)
            return
        scope["path_params"] = {"action": found["action"]}
        scope["via_proxy"] = found["version"] is None
        response = await door.answer(Request(scope, receive, send))
        await response(scope, receive, send)

    # Here and not in uvicorn, so that predictions, which need no address of the caller, don't pay for it.
    return ProxyHeadersMiddleware(to_the_door, os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1"))  # type: ignore[arg-type, return-value]

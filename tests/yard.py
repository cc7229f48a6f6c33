"""A whole house inside the test's own process: the real gateway on a real port, the real agent, real guests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import abacusai
import msgspec
import requests

from modelyard import app
from modelyard.api.serving import Server, listen
from modelyard.execution.agent import Agent
from modelyard.observability.logbook import Logbook
from modelyard.settings import Settings


class CallFailed(Exception):
    """What an action answered instead of a result."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body.get('errorType')}: {body.get('error')}")
        self.status, self.error_type, self.error = status, body.get("errorType"), body.get("error", "")


class Yard:
    """Opened by `with`, and answering from then on; stops everything that it started at the end."""

    def __init__(self, settings: Settings, *, with_agent: bool = True) -> None:
        listener = listen("127.0.0.1", settings.port)
        self.settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
        self.house = app.open_house(self.settings)
        self.database = self.house.database
        self.key = self.house.first_key or ""
        self.url = self.settings.base_url
        self._parts = [app.gateway_parts(self.house)]
        self._server = Server(app.gateway(self.house, self._parts[0]), listener)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.agent: Agent | None = None
        if with_agent:
            self._parts.append(app.agent_parts(self.house))
            self.agent = app.agent(self.house, self._parts[1])

    def __enter__(self) -> Self:
        self._thread.start()
        if self.agent:
            self.agent.start()
        _await(self.url)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.agent:
            self.agent.stop()
        self._server.stop()
        self._thread.join(20)
        for parts in self._parts:
            parts.close()
        self.house.database.close()

    def load_of(self, deployment_id: str) -> int:
        """Calls of a deployment that the gateway has under way or waiting."""
        return sum(self._parts[0].get(Logbook).lines[deployment_id].load)

    @contextmanager
    def another_gateway(self) -> Iterator[str]:
        """The URL of a second gateway of the same house."""
        listener = listen("127.0.0.1", 0)
        parts = app.gateway_parts(self.house)
        server = Server(app.gateway(self.house, parts), listener)
        thread = threading.Thread(target=server.run, daemon=True)
        url = self.url.replace(str(self.settings.port), str(listener.getsockname()[1]))
        thread.start()
        try:
            _await(url)
            yield url
        finally:
            server.stop()
            thread.join(20)
            parts.close()

    def client(self, key: str | None = None) -> abacusai.ApiClient:
        """The official client, unmodified."""
        return abacusai.ApiClient(key or self.key, server=self.url)

    def call(self, action: str, verb: str = "POST", *, key: str | None = None, **parameters: object) -> Any:
        """An action's result over real HTTP; CallFailed with what was answered instead."""
        url, headers = f"{self.url}/api/v0/{action}", {"apiKey": self.key if key is None else key}
        if verb in ("GET", "DELETE"):
            texts = {name: _text(value) for name, value in parameters.items() if value is not None}
            answer = requests.request(verb, url, params=texts, headers=headers, timeout=60)
        else:
            answer = requests.request(verb, url, json=parameters, headers=headers, timeout=60)
        body = answer.json()
        if not body["success"]:
            raise CallFailed(answer.status_code, body)
        return body["result"]


def _await(url: str) -> None:
    """Returns once a gateway has started: before, its socket listens but nothing answers, and it still reads tables."""
    requests.get(f"{url}/healthz", timeout=60)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

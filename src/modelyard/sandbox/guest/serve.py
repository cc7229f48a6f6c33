"""Serves the model in this folder on localhost: `python serve.py [--port 8000]`. The standard library alone.

POST /predict {"queryData": {...}} and POST /predictMultiple {"queryData": [{...}, ...]} answer
{"success": true, "result": ...}; further keys reach the function as keyword arguments. GET /health answers 200.
"""

import argparse
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_LARGEST = 32 * 1024**2


def main() -> None:
    """Loads the model and serves until it is interrupted."""
    parser = argparse.ArgumentParser(description="Serves this model on localhost.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1", help="There is no authentication: leave it local.")
    options = parser.parse_args()
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.join(folder, "runtime"))
    from modelyard_guest.portable import open_model  # type: ignore[import-not-found]  # lies in the export

    opened = open_model(folder)

    class Handler(BaseHTTPRequestHandler):
        """One call."""

        def do_GET(self) -> None:
            """Whether it is up."""
            self._say(200 if self.path == "/health" else 404, {"success": self.path == "/health"})

        def do_POST(self) -> None:
            """A prediction, or several."""
            calls = {"/predict": opened.predict_one, "/predictMultiple": opened.predict_many}
            call = calls.get(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            if call is None or length > _LARGEST:
                self._say(404 if call is None else 413, {"success": False, "error": "POST /predict, up to 32 MiB"})
                return
            try:
                body: dict[str, Any] = json.loads(self.rfile.read(length))
                query = body.pop("queryData")
            except (ValueError, KeyError, TypeError, AttributeError):
                self._say(400, {"success": False, "error": 'the body must be JSON: {"queryData": ...}'})
                return
            try:
                self._say(200, {"success": True, "result": call(query, **body)})
            except Exception as error:  # noqa: BLE001 - a failure of the model is an answer
                self._say(500, {"success": False, "error": f"{type(error).__name__}: {error}"})

        def _say(self, status: int, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer((options.host, options.port), Handler)
    print(f"serving on http://{options.host}:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

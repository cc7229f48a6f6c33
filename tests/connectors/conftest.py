"""Real parts beside the house: an S3 server, databases, a web server whose answers a test chooses."""

import http.server
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pymysql
import pytest
import sqlalchemy as sa
from moto.server import ThreadedMotoServer

from modelyard.connectors.tunnel import _pump_both
from modelyard.settings import Settings

SECRETS = {"access_key_id": "key-of-a-test", "secret_access_key": "secret-of-a-test"}
Answer = tuple[int, dict[str, str], bytes]


class Buckets:
    """An S3 server, and what a test puts into it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._client: Any = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id=SECRETS["access_key_id"], aws_secret_access_key=SECRETS["secret_access_key"],
        )  # fmt: skip

    def put(self, bucket: str, **objects: bytes) -> None:
        """Objects by name; `__` stands for a slash and `_DOT_` for a dot."""
        self._client.create_bucket(Bucket=bucket)
        for name, data in objects.items():
            self._client.put_object(Bucket=bucket, Key=name.replace("__", "/").replace("_DOT_", "."), Body=data)

    def get(self, bucket: str, key: str) -> bytes:
        """One object."""
        data: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    def keys(self, bucket: str) -> list[str]:
        """The objects of a bucket."""
        return [entry["Key"] for entry in self._client.list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.fixture(scope="module")
def buckets() -> Iterator[Buckets]:
    """An S3 server on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Buckets(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def web() -> Iterator[Callable[[dict[str, Answer]], str]]:
    """Starts a web server on loopback that answers by path; gives its URL."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(answers: dict[str, Answer]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = answers.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def opened(settings: Settings) -> Settings:
    """Settings of a house whose operator opened loopback, where a test's servers are."""
    return msgspec.structs.replace(settings, allowed_networks=("127.0.0.1/32",))


@pytest.fixture
def postgresql_tcp(postgresql_url: str) -> Iterator[sa.URL]:
    """A fresh PostgreSQL database on a TCP port; the server that the tests bring along listens on a socket file."""
    url = sa.make_url(postgresql_url)
    folder = url.query.get("host")
    if not isinstance(folder, str):
        yield url
        return
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as inner:
            inner.connect(f"{folder}/.s.PGSQL.{url.port or 5432}")
            _pump_both(client, inner)

    def forward() -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=carry, args=(client,), daemon=True).start()

    threading.Thread(target=forward, daemon=True).start()
    yield url.set(host="127.0.0.1", port=listener.getsockname()[1], query={})
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture(scope="module")
def mariadb() -> Iterator[sa.URL]:
    """A MariaDB server with an empty database `shop`; skips where none is installed."""
    daemon, install = shutil.which("mariadbd", path="/usr/sbin:/usr/bin"), shutil.which("mariadb-install-db")
    if daemon is None or install is None:
        pytest.skip("MariaDB is not installed (Debian: apt install mariadb-server)")
    folder = Path(tempfile.mkdtemp(prefix="yard-my-", dir="/tmp"))
    shutil.chown(folder, "mysql", "mysql")
    data = ["--no-defaults", f"--datadir={folder}/data", "--user=mysql"]
    subprocess.run([install, *data, "--auth-root-authentication-method=normal"], check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:  # of its own: two of pytest's processes may each have one
        port = free.getsockname()[1]
    options = [f"--socket={folder}/s", f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={folder}/pid"]
    with subprocess.Popen([daemon, *data, *options], stderr=subprocess.DEVNULL) as server:
        root = _wait_for(f"{folder}/s")
        with root.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop")
            cursor.execute("CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'reader-password'")
            cursor.execute("GRANT ALL ON *.* TO reader@'127.0.0.1'")
        root.close()
        yield sa.URL.create("mysql+pymysql", "reader", "reader-password", "127.0.0.1", port, "shop")
        server.terminate()
        server.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


def _wait_for(path: str) -> Any:
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as tried:
            if tried.connect_ex(path) == 0:
                return pymysql.connect(unix_socket=path, user="root")
        time.sleep(0.1)
    raise AssertionError("MariaDB does not answer")

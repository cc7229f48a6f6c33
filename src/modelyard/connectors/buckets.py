"""Files in object stores: `s3://bucket/folder/*.csv`, `gs://...`, `az://container/...`, by the connector's credentials.

The libraries under `obstore` would take credentials from the server's own environment or from the cloud's metadata
service, and so read with the server's rights what a caller names. Neither is done: credentials are the connector's or
none at all, and every connection goes through a tunnel that judges where it leads.
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from modelyard.connectors.egress import Egress, Endpoint
from modelyard.connectors.files import File, refused, taken
from modelyard.connectors.patterns import read_pattern
from modelyard.connectors.records import Store
from modelyard.connectors.tunnel import Tunnel
from modelyard.errors import InvalidParameterError

SCHEMES = {"s3": Store.S3, "gs": Store.GCS, "az": Store.AZURE}
#: What a connector may say, in the clear and as secrets.
OPTIONS = {
    Store.S3: frozenset({"endpoint", "region", "virtual_hosted_style"}),
    Store.GCS: frozenset(),
    Store.AZURE: frozenset({"endpoint", "account"}),
}
SECRETS = {
    Store.S3: frozenset({"access_key_id", "secret_access_key", "session_token"}),
    Store.GCS: frozenset({"service_account_key"}),
    Store.AZURE: frozenset({"connection_string", "account_key", "sas_token"}),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_AMBIENT = re.compile(r"(AWS|AZURE|GOOGLE|MSI|IDENTITY)_|.*_METADATA_(HOST|IP)|GCE_", re.IGNORECASE)
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
#: What the library raises; it says "no such object" by the builtin FileNotFoundError.
_FAILURES = (BaseError, OSError)
_CHUNK = 8 * 1024**2
_ambient = threading.Lock()


class Key(NamedTuple):
    """What opens a bucket, decrypted."""

    store: Store
    options: Mapping[str, Any]
    secrets: Mapping[str, str]
    is_operators: bool


class Bucket:
    """A location in a bucket. Opened by `with`, as it holds connections."""

    def __init__(self, location: str, key: Key, egress: Egress, limit_files: int) -> None:
        self._location, self._key, self._limit = location, key, limit_files
        self._scheme, self._bucket, path = split_location(location)
        self._pattern = read_pattern(path)
        self._tunnel = Tunnel(egress)
        try:
            self._store = _open_store(self._bucket, key, self._tunnel.url)
        except (BaseError, ValueError):
            self._tunnel.__exit__(None, None, None)
            raise refused(location, "its connector's options or secrets don't fit together") from None

    def __enter__(self) -> Self:
        self._tunnel.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._tunnel.__exit__(kind, error, at)

    def files(self) -> list[File]:
        """The objects that the location stands for, by name."""
        try:
            if self._pattern.rule is None:
                size = self._store.head(self._pattern.prefix)["size"]
                return [File(self._location, size)]
            found = sorted(self._listed())
        except _FAILURES as error:
            raise self._refused(error) from error
        if not found:
            raise refused(self._location, "no file fits it")
        return found

    def read(self, file: File) -> Iterator[bytes]:
        """The object's bytes."""
        try:
            for chunk in self._store.get(split_location(file.name)[2]).stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)
        except _FAILURES as error:
            raise self._refused(error) from error

    def write(self, name: str, chunks: Iterable[bytes], *, overwrite: bool = True) -> str:
        """Writes an object, whole or not at all, and gives its location.

        Without `overwrite` it is looked for first: stores have no way to ask for that along with an upload in parts.
        """
        path = self._pattern.prefix
        if self._pattern.rule is not None:
            if path[-1:] not in ("/", ""):
                raise refused(self._location, "it is no place for a file")
            path += name
        try:
            if not overwrite and self._has(path):
                raise taken(f"{self._scheme}://{self._bucket}/{path}")
            self._store.put(path, iter(chunks), chunk_size=_CHUNK, max_concurrency=4)
        except _FAILURES as error:
            raise self._refused(error) from error
        return f"{self._scheme}://{self._bucket}/{path}"

    def look(self) -> None:
        """Lists one object; InvalidParameterError says why that can't be."""
        try:
            next(iter(self._store.list(self._pattern.prefix or None, chunk_size=1)), None)
        except _FAILURES as error:
            raise self._refused(error) from error

    def delete(self, location: str) -> None:
        """Deletes an object that `write` made."""
        try:
            self._store.delete(split_location(location)[2])
        except _FAILURES as error:
            raise self._refused(error) from error

    def names(self) -> list[str]:
        """The objects that lie in the folder itself, or the one object, if it is there."""
        prefix = self._pattern.prefix
        try:
            if prefix[-1:] not in ("/", ""):
                return [prefix.rpartition("/")[2]] if self._has(prefix) else []
            listed = self._store.list_with_delimiter(prefix.rstrip("/") or None)
        except _FAILURES as error:
            raise self._refused(error) from error
        return sorted(entry["path"].removeprefix(prefix) for entry in listed["objects"])

    def remove(self, name: str) -> None:
        """Removes an object that lies in the folder itself."""
        self.delete(f"{self._scheme}://{self._bucket}/{self._pattern.prefix}{name}")

    def _has(self, path: str) -> bool:
        try:
            self._store.head(path)
        except (NotFoundError, FileNotFoundError):
            return False
        return True

    def _listed(self) -> Iterator[File]:
        folder = self._pattern.prefix[: self._pattern.prefix.rfind("/") + 1]
        count = 0
        for page in self._store.list(folder.rstrip("/") or None):
            for entry in page:
                if not self._pattern.fits(entry["path"]):
                    continue
                count += 1
                if count > self._limit:
                    raise refused(self._location, f"it stands for more than {self._limit:,} files (location_files)")
                yield File(f"{self._scheme}://{self._bucket}/{entry['path']}", entry["size"])

    def _refused(self, error: Exception) -> InvalidParameterError:
        if self._tunnel.refusal is not None:
            return self._tunnel.refusal
        code = _CODE.search(str(error))
        if isinstance(error, NotFoundError | FileNotFoundError) or (code and code[1] == "NoSuchBucket"):
            return refused(self._location, "there is no such bucket or file")
        if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError):
            return refused(self._location, f"the store refused its connector{f' ({code[1]})' if code else ''}")
        return refused(self._location, f"the store does not answer as it should ({code[1] if code else 'no answer'})")


def split_location(location: str) -> tuple[str, str, str]:
    """Scheme, bucket and path of a location in a bucket."""
    scheme, _, rest = location.partition("://")
    bucket, _, path = rest.partition("/")
    if scheme not in SCHEMES or not _NAME.fullmatch(bucket) or len(location) > 2048:
        raise refused(location, "write it as s3://bucket/folder/file.csv, gs://... or az://container/...")
    if any(part in (".", "..") or any(ord(char) < 32 for char in part) for part in path.split("/")):
        raise refused(location, "it has a part that no file may have")
    return scheme, bucket, path


def endpoint_of(key: Key) -> Endpoint | None:
    """The host and port that the connector itself names, where it does."""
    endpoint = key.options.get("endpoint")
    if not endpoint:
        return None
    try:
        parts = urlsplit(str(endpoint))
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    except (ValueError, KeyError):
        raise InvalidParameterError("The endpoint must be a URL such as https://storage.example.com:9000") from None
    if not parts.hostname or parts.path not in ("", "/") or parts.query or "@" in parts.netloc:
        raise InvalidParameterError("The endpoint must be a URL such as https://storage.example.com:9000")
    return Endpoint(parts.hostname, port)


def _open_store(bucket: str, key: Key, proxy: str) -> ObjectStore:
    _forget_ambient()
    client: Any = {
        "proxy_url": proxy, "allow_http": str(key.options.get("endpoint", "")).startswith("http:"),
        "timeout": timedelta(hours=6), "connect_timeout": timedelta(seconds=30), "read_timeout": timedelta(seconds=60),
    }  # fmt: skip
    retries: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=30)}
    opened = {Store.S3: _open_s3, Store.GCS: _open_gcs, Store.AZURE: _open_azure}[key.store]
    return opened(bucket, key, client, retries)


def _open_s3(bucket: str, key: Key, client: Any, retries: Any) -> ObjectStore:
    region = str(key.options.get("region") or "us-east-1")
    if not re.fullmatch(r"[a-z0-9-]{1,40}", region):
        raise ValueError("region")
    endpoint = str(key.options.get("endpoint") or f"https://s3.{region}.amazonaws.com").rstrip("/")
    virtual = str(key.options.get("virtual_hosted_style", "")).lower() in ("true", "1")
    config: Any = {"endpoint": endpoint, "region": region, "virtual_hosted_style_request": virtual}
    config |= {name: value for name, value in key.secrets.items() if value}
    if not key.secrets:
        config["skip_signature"] = True
    return S3Store(bucket, config=config, client_options=client, retry_config=retries)


def _open_gcs(bucket: str, key: Key, client: Any, retries: Any) -> ObjectStore:
    config: Any = (
        {"service_account_key": key.secrets["service_account_key"]} if key.secrets else {"skip_signature": True}
    )
    return GCSStore(bucket, config=config, client_options=client, retry_config=retries)


def _open_azure(bucket: str, key: Key, client: Any, retries: Any) -> ObjectStore:
    config: Any = {"account_name": str(key.options.get("account") or "")}
    if key.options.get("endpoint"):
        config["endpoint"] = str(key.options["endpoint"])
    if not key.secrets:
        config["skip_signature"] = True
    if "connection_string" in key.secrets:
        config |= _azure_config(key.secrets["connection_string"])
    if "account_key" in key.secrets:
        config["account_key"] = key.secrets["account_key"]
    if "sas_token" in key.secrets:
        config["sas_token"] = key.secrets["sas_token"]
    return AzureStore(bucket, config=config, client_options=client, retry_config=retries)


def account_of(connection_string: str) -> str:
    """The account's name in a connection string of Azure; InvalidParameterError for what is none."""
    parts = dict(part.split("=", 1) for part in connection_string.split(";") if "=" in part)
    named = parts.get("AccountName") or parts.get("BlobEndpoint", "").partition("//")[2].partition(".")[0]
    if not re.fullmatch(r"[a-z0-9]{3,24}", named) or not ({"AccountKey", "SharedAccessSignature"} & parts.keys()):
        raise InvalidParameterError(
            "connectionString must be one of Azure Blob Storage: AccountName=...;AccountKey=... or with a "
            "SharedAccessSignature"
        )
    return named


def _azure_config(connection_string: str) -> dict[str, str]:
    parts = dict(part.split("=", 1) for part in connection_string.split(";") if "=" in part)
    config = {"account_name": account_of(connection_string)}
    if "AccountKey" in parts:
        config["account_key"] = parts["AccountKey"]
    if "SharedAccessSignature" in parts:
        config["sas_token"] = parts["SharedAccessSignature"]
    return config


def _forget_ambient() -> None:
    """Takes the cloud credentials of the server out of its environment: the libraries would lend them to callers."""
    with _ambient:
        for name in [name for name in os.environ if _AMBIENT.match(name)]:
            del os.environ[name]

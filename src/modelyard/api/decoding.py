"""Merges query, JSON body and form of a request into one mapping of wire values.

The official client splits a call's parameters between query and body, repeats a key for each item of a list outside
GET, and posts files as multipart forms. Where a name comes twice, the body wins. Text from query and form is marked
as `Text`, since there everything is text, lists and objects are JSON text, and so on (see `modelyard.actions`).
"""

import functools
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from modelyard.actions import Text, UploadedFile, Wire
from modelyard.api.guard import check_encoding, check_length, limited
from modelyard.errors import InvalidRequest
from modelyard.settings import Settings
from modelyard.storage.own_folder import OwnFolder

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
#: Fields of a form beside its files.
MAX_FIELDS = 100
CHUNK = 1024**2


@asynccontextmanager
async def wire_values(request: Request, settings: Settings) -> AsyncIterator[dict[str, Wire]]:
    """The request's parameters by wire name. Uploaded files are on disk until the block ends."""
    check_encoding(request.headers.raw)
    values: dict[str, Wire] = _texts(request.query_params.multi_items())
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    limit = settings.part_limit + CHUNK if kind == FORMS[0] else settings.body_limit
    check_length(request, limit)
    begins, body = await _beginning(_chunks(request, limit))
    # curl says of every body that it is a form.
    if kind == FORMS[0] or (kind == FORMS[1] and begins != b"{"):
        async with _form(request, settings, kind, body) as fields:
            yield values | fields
    else:
        yield values | await _json(body)


def _texts(items: Iterable[tuple[str, str]]) -> dict[str, Wire]:
    values: dict[str, Wire] = {}
    for name, text in items:
        if name not in values:
            values[name] = Text(text)
        elif isinstance(values[name], list):
            values[name].append(text)
        else:
            values[name] = [str(values[name]), text]
    return values


async def _chunks(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in limited(request, limit):
            yield chunk
    except ClientDisconnect:
        raise InvalidRequest("The connection was closed before the body had arrived") from None


async def _beginning(chunks: AsyncGenerator[bytes, None]) -> tuple[bytes, AsyncGenerator[bytes, None]]:
    """The first byte that is no blank, if there is one, and all chunks."""
    seen: list[bytes] = []
    async for chunk in chunks:
        seen.append(chunk)
        if chunk.strip():
            break

    async def whole() -> AsyncGenerator[bytes, None]:
        for chunk in seen:
            yield chunk
        async for chunk in chunks:
            yield chunk

    return (seen[-1].lstrip()[:1] if seen else b""), whole()


async def _json(chunks: AsyncGenerator[bytes, None]) -> dict[str, Wire]:
    body = b"".join([chunk async for chunk in chunks])
    if not body.strip():
        return {}
    try:
        decoded = msgspec.json.decode(body)
    except RecursionError:
        raise InvalidRequest("The body's JSON is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise InvalidRequest(f"The body must be a JSON object, not {type(decoded).__name__}")
    return decoded


@asynccontextmanager
async def _form(
    request: Request, settings: Settings, kind: str, chunks: AsyncGenerator[bytes, None]
) -> AsyncIterator[dict[str, Wire]]:
    parser: MultiPartParser | FormParser
    try:
        if kind == FORMS[0]:
            parser = MultiPartParser(request.headers, chunks, max_files=16, max_fields=MAX_FIELDS)
        else:
            parser = FormParser(request.headers, chunks)
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise InvalidRequest(f"The form can't be read: {error}") from None
    with tempfile.TemporaryDirectory(dir=spool(settings.home).path, prefix="form-") as folder:
        values = _texts((name, value) for name, value in form.multi_items() if isinstance(value, str))
        for number, (name, value) in enumerate(form.multi_items()):
            if isinstance(value, UploadFile):
                values[name] = await run_in_threadpool(_keep, value, Path(folder) / str(number))
        await form.close()
        yield values


@functools.cache
def spool(home: Path) -> OwnFolder:
    """Where files of forms lie until an action has taken them."""
    return OwnFolder(home / "incoming")


def _keep(upload: UploadFile, path: Path) -> UploadedFile:
    size = 0
    with path.open("xb") as out:
        while chunk := upload.file.read(CHUNK):
            out.write(chunk)
            size += len(chunk)
    return UploadedFile(path, size)

"""Secrets at rest: AES-256-GCM under a key in a file of the home, made at first use.

Each secret is bound to the connector that it belongs to, so a row's bytes moved to another row open nothing. Every
process with the home reads the same key; agents on other machines need a copy of the file. The key is not in the
database on purpose: who has the database alone, or a backup of it, has no secret.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from modelyard.errors import InternalServerError

#: The key's file below the home.
KEY_FILE = "secrets.key"
_NONCE_BYTES = 12
_FIRST_FORM = b"\x01"


class Vault:
    """Closes and opens secrets with the home's key."""

    def __init__(self, home: Path) -> None:
        self._path = home / KEY_FILE

    def close(self, values: Mapping[str, str], owner: str) -> bytes | None:
        """The values encrypted for that connector; None where there are none."""
        if not values:
            return None
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FIRST_FORM + nonce + self._cipher().encrypt(nonce, msgspec.json.encode(dict(values)), owner.encode())

    def open(self, closed: bytes | None, owner: str) -> dict[str, str]:
        """What was closed for that connector; InternalServerError where the key is another one."""
        if closed is None:
            return {}
        nonce, text = closed[1 : 1 + _NONCE_BYTES], closed[1 + _NONCE_BYTES :]
        try:
            return msgspec.json.decode(self._cipher().decrypt(nonce, text, owner.encode()), type=dict[str, str])
        except InvalidTag:
            raise InternalServerError(
                f"The secrets of connector {owner} can't be opened: the server's {KEY_FILE} is not the one that closed "
                "them; put the right file back, or set the secrets again"
            ) from None

    def derived_key(self, purpose: str) -> bytes:
        """A key of its own for that purpose, from which nobody learns the home's."""
        return hmac.new(self._read() or self._make(), f"modelyard: {purpose}".encode(), hashlib.sha256).digest()

    def _cipher(self) -> AESGCM:
        return AESGCM(self._read() or self._make())

    def _read(self) -> bytes | None:
        try:
            return bytes.fromhex(self._path.read_text().strip())
        except FileNotFoundError:
            return None

    def _make(self) -> bytes:
        """The key, new, or that of whoever was faster. It is whole before it has its name."""
        key = AESGCM.generate_key(256)
        draft = self._path.with_name(f".{KEY_FILE}.{secrets.token_hex(6)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(key.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, self._path)
        except FileExistsError:
            return self._read() or key
        finally:
            draft.unlink()
        return key

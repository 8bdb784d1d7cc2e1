"""Reads the credentials directory, in the manner of systemd's `LoadCredential=`.

Files: `service_key` (bearer of the brokers), `api_key` (first key of the built-in
user), `session_key` (Ed25519 private key, PEM, signs session tokens), `data_key` (32 random
bytes in base64, seals what is kept of conversations). If they are there:
`session_key_next` and `session_key_previous` (sign nothing, but what they signed is
accepted), `data_key_previous` (opens what was sealed before a change), `admin_key` (bearer
of the admin API, which is closed without it), `oidc_client_secret`; `database_url` where
the database is a PostgreSQL; `tls_cert`, `tls_key` and `tls_ca` where it is to listen behind
mutual TLS. Whoever starts the process makes them; this module only reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy import URL

from control_plane.auth import is_api_key
from control_plane.channel import ServerTls
from control_plane.sealing import data_key
from control_plane.store.engines import UrlError, postgres_url
from inventory.tls import tls_files

# Verify only: one that will sign, and one that did.
OTHER_SESSION_KEYS: Final = ("session_key_next", "session_key_previous")
_SERVICE_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{32,512}")


class CredentialsError(Exception):
    """A credential cannot be used; one line that names the file and what is expected of it."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The secrets of the process. Its repr shows none of them.

    `data_keys`: the one that seals, then those that only open; without any, no
    conversation is kept.
    """

    service_key: str
    api_key: str
    session_key: Ed25519PrivateKey
    database_url: URL | None = None
    tls: ServerTls | None = None
    data_keys: tuple[bytes, ...] = ()
    other_session_keys: tuple[Ed25519PrivateKey, ...] = ()
    admin_key: str | None = None
    oidc_client_secret: str | None = None

    def __repr__(self) -> str:
        return "Credentials(…)"


def read_credentials(directory: Path) -> Credentials:
    """The credentials in `directory`. Raises CredentialsError."""
    return Credentials(
        service_key=_service_key(directory / "service_key"),
        api_key=_api_key(directory / "api_key"),
        session_key=_session_key(directory / "session_key"),
        database_url=_database_url(directory / "database_url"),
        tls=_tls(directory),
        data_keys=_data_keys(directory / "data_key", directory / "data_key_previous"),
        other_session_keys=tuple(
            _session_key(path) for name in OTHER_SESSION_KEYS if (path := directory / name).exists()
        ),
        admin_key=_if_there(directory / "admin_key", _service_key),
        oidc_client_secret=_if_there(directory / "oidc_client_secret", _text),
    )


def _if_there(path: Path, read: Callable[[Path], str]) -> str | None:
    return read(path) if path.exists() else None


def _service_key(path: Path) -> str:
    key = _text(path)
    if not _SERVICE_KEY.fullmatch(key):
        raise CredentialsError(f"{path}: expected one bearer token of 32 to 512 characters")
    return key


def _api_key(path: Path) -> str:
    key = _text(path)
    if not is_api_key(key):
        raise CredentialsError(f"{path}: expected `ok_` and 43 URL-safe characters")
    return key


def _session_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(_text(path).encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CredentialsError(f"{path}: expected an unencrypted private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CredentialsError(f"{path}: expected an Ed25519 private key")
    return key


def _database_url(path: Path) -> URL | None:
    if not path.exists():
        return None
    try:
        return postgres_url(_text(path))
    except UrlError as error:
        raise CredentialsError(f"{path}: {error}") from error


def _tls(directory: Path) -> ServerTls | None:
    files = tls_files(directory)
    if files is None:
        return None
    for path in files:
        _text(path)
    try:
        return ServerTls(files)
    except OSError as error:
        raise CredentialsError(f"{files.cert} and the others cannot be used: {error}") from error


def _data_keys(current: Path, previous: Path) -> tuple[bytes, ...]:
    paths = [current, previous] if previous.exists() else [current]
    return tuple(_data_key(path) for path in paths)


def _data_key(path: Path) -> bytes:
    try:
        return data_key(_text(path))
    except ValueError as error:
        raise CredentialsError(
            f"{path}: expected 32 random bytes in base64 (openssl rand -base64 32)"
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise CredentialsError(f"{path}: missing") from error
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CredentialsError(f"{path}: expected plain ASCII text") from error

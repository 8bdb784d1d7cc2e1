"""Reads the credentials directory, in the manner of systemd's `LoadCredential=`.

Files: `service_key` (bearer of the brokers), `api_key` (first key of the built-in
user), `session_key` (Ed25519 private key, PEM, signs session tokens); where the database
is a PostgreSQL, `database_url`; and, where it is to listen behind mutual TLS, `tls_cert`,
`tls_key` and `tls_ca`. Whoever starts the process makes them; this
module only reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy import URL

from control_plane.auth import is_api_key
from control_plane.channel import ServerTls
from control_plane.store.engines import UrlError, postgres_url
from inventory.tls import tls_files

_SERVICE_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{32,512}")


class CredentialsError(Exception):
    """A credential cannot be used; one line that names the file and what is expected of it."""


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The secrets of the process. Its repr shows none of them."""

    service_key: str
    api_key: str
    session_key: Ed25519PrivateKey
    database_url: URL | None = None
    tls: ServerTls | None = None

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
    )


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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise CredentialsError(f"{path}: missing") from error
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CredentialsError(f"{path}: expected plain ASCII text") from error

"""Calls of the admin API. What it refuses is one line for a person."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx

from inventory.load import load_cluster
from inventory.tls import client_context, tls_files
from okome.admin.options import Where
from okome.commands import paths_of
from okome.errors import OkomeError

_TIMEOUT_S: Final = 15.0


class Admin:
    """One control plane, with the admin's key. Methods raise OkomeError. A context manager."""

    def __init__(
        self,
        url: str,
        key: str,
        transport: httpx.BaseTransport | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(
            base_url=f"{self._url}/internal/v1/admin",
            headers={"Authorization": f"Bearer {key}"},
            timeout=_TIMEOUT_S,
            trust_env=False,
            transport=transport,
            verify=tls or True,
        )

    def __enter__(self) -> Admin:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int | None) -> Any:
        """What there is; a query of None is left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", path, params=given)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Makes something."""
        return self._call("POST", path, json=body or {})

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Changes something."""
        return self._call("PATCH", path, json=body)

    def delete(self, path: str) -> Any:
        """Ends something."""
        return self._call("DELETE", path)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._client.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OkomeError(
                f"the control plane at {self._url} does not answer ({type(error).__name__}); "
                "is it running? `okome status` shows the one-machine cluster"
            ) from error
        if answer.is_success:
            return answer.json() if answer.content else None
        raise OkomeError(self._refusal(answer))

    def _refusal(self, answer: httpx.Response) -> str:
        if answer.status_code == 401:
            return f"the control plane at {self._url} does not accept this admin_key"
        try:
            return str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            return f"the control plane at {self._url} answers {answer.status_code}"


def connect(where: Where) -> Admin:
    """The control plane that is meant, by mutual TLS where the credentials have certificates.

    Raises OkomeError where there is none to be found, or they cannot be used.
    """
    url, directory = where.url, credentials_of(where)
    tls = _tls(directory)
    if url is None:
        running = paths_of(where.inventory).inventory
        if not running.exists():
            raise OkomeError("OKOME is not running; start it with `okome up`, or name one by --url")
        url = load_cluster(running).control_url
    if tls is not None and url.startswith("http://"):
        # Nothing else is spoken there, and the key must not go out without it.
        url = f"https://{url.removeprefix('http://')}"
    return Admin(url, _key(directory / "admin_key"), tls=tls)


def credentials_of(where: Where) -> Path:
    """The credentials directory that is meant."""
    return where.credentials or paths_of(where.inventory).credentials


def _tls(directory: Path) -> ssl.SSLContext | None:
    files = tls_files(directory)
    try:
        return client_context(files) if files else None
    except OSError as error:
        reason = error.strerror or str(error)
        raise OkomeError(
            f"tls_cert, tls_key and tls_ca in {directory} cannot be used: {reason}"
        ) from error


def _key(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not plain text"
        raise OkomeError(
            f"{path}: {reason}; name the directory that holds it with --credentials"
        ) from error

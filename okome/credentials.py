"""The secrets of a one-machine cluster: made once, readable by their owner only."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from contracts.policy import API_KEY_PREFIX
from okome.paths import make_private


def ensure_credentials(directory: Path) -> None:
    """Creates what is missing of the keys and secrets that a control plane and brokers need."""
    make_private(directory)
    makers: dict[str, Callable[[], bytes]] = {
        "service_key": lambda: secrets.token_urlsafe(32).encode(),
        "admin_key": lambda: secrets.token_urlsafe(32).encode(),
        "api_key": lambda: (API_KEY_PREFIX + secrets.token_urlsafe(32)).encode(),
        "session_key": ed25519_pem,
        "data_key": lambda: base64.b64encode(secrets.token_bytes(32)),
    }
    for name, make in makers.items():
        if not (directory / name).exists():
            write_secret(directory / name, make())


def read_api_key(directory: Path) -> str:
    """The API key of the built-in user."""
    return (directory / "api_key").read_text(encoding="ascii").strip()


def write_secret(path: Path, content: bytes) -> None:
    """Puts a file in place that only its owner may read."""
    # Written beside and renamed: a process that starts now sees all of it or nothing.
    unfinished = path.with_name(f".{path.name}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    unfinished.replace(path)


def ed25519_pem() -> bytes:
    """A fresh signing key."""
    # Imported here: reading a key back must not pay for the cryptography package.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )

"""The files and contexts of mutual TLS between the planes.

A credentials directory has all three files or none: `tls_cert` and `tls_key` of the
process (PEM, the key unencrypted), `tls_ca` with the authorities it believes.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple


class TlsFiles(NamedTuple):
    """Where the three are."""

    cert: Path
    key: Path
    ca: Path

    def state(self) -> list[tuple[int, int, int]]:
        """Differs from an earlier one when a file has changed. Raises OSError."""
        states = [path.stat() for path in self]
        return [(state.st_mtime_ns, state.st_size, state.st_ino) for state in states]

    def load_into(self, context: ssl.SSLContext) -> None:
        """Raises OSError (ssl.SSLError is one) for files that cannot be used."""
        # Without a password an encrypted key would make OpenSSL ask for one on the terminal.
        context.load_cert_chain(self.cert, self.key, password="")
        context.load_verify_locations(cafile=self.ca)


def tls_files(directory: Path) -> TlsFiles | None:
    """The three of a credentials directory; None where it has not one of them."""
    files = TlsFiles(*(directory / f"tls_{name}" for name in TlsFiles._fields))
    return files if any(path.exists() for path in files) else None


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For calls: the other side's certificate must be of an authority in `ca` and name the
    host name or IP that is called. Raises OSError as `load_into` does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    files.load_into(context)
    return context


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For listening: who comes without a certificate of an authority in `ca` is turned
    away. Raises OSError as `load_into` does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    files.load_into(context)
    return context

"""The broker's side of mutual TLS with the control plane."""

from __future__ import annotations

import logging
import ssl

from inventory.tls import TlsFiles, client_context

_LOG = logging.getLogger(__name__)


class ClientTls:
    """The context of calls to the control plane, read anew when a file has changed.

    Raises OSError for files that cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = files.state()
        self._context = client_context(files)

    def context(self) -> ssl.SSLContext:
        """The one for a new connection: what it was where new files cannot be used (yet)."""
        try:
            state = self._files.state()
            if state != self._seen:
                self._seen = state
                self._context = client_context(self._files)
                _LOG.info("the certificate was read anew")
        except OSError as error:
            _LOG.error("the new certificate cannot be used: %s", error)
        return self._context

"""The channel between the planes under mutual TLS: whose certificate may say what.

A certificate names its roles in URI names (`subjectAltName`), or, where it has none of
ours, in its common name. Which authority may give such names is for whoever listens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

Role = Literal["broker", "ingress", "admin", "observer"]

# What a certificate says -> what its owner is.
ROLE_NAMES: Final[Mapping[str, Role]] = {
    "okome:broker": "broker",
    "okome:ingress": "ingress",
    "okome:admin": "admin",
    "okome:observer": "observer",
}


def roles_of(certificate: Mapping[str, Any] | None) -> frozenset[Role]:
    """The roles of a verified certificate, in the form of `SSLSocket.getpeercert()`."""
    if not certificate:
        return frozenset()
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    ours = [name for name in names if name in ROLE_NAMES]
    if not ours:
        subject = certificate.get("subject", ())
        ours = [value for part in subject for kind, value in part if kind == "commonName"]
    return frozenset(ROLE_NAMES[name] for name in ours if name in ROLE_NAMES)

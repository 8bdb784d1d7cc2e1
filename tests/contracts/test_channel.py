from __future__ import annotations

from typing import Any

import pytest

from contracts.channel import roles_of


def certificate(*uris: str, common: str = "", **more: Any) -> dict[str, Any]:
    """As `SSLSocket.getpeercert()` gives it."""
    return {
        "subject": ((("countryName", "DE"),), (("commonName", common),)),
        "subjectAltName": (("DNS", "okome:admin"), *(("URI", uri) for uri in uris)),
    } | more


@pytest.mark.parametrize(
    ("shown", "roles"),
    [
        (certificate("okome:broker"), {"broker"}),
        (certificate("okome:broker", "okome:ingress"), {"broker", "ingress"}),
        (certificate("spiffe://x/y", "okome:admin"), {"admin"}),
        (certificate(common="okome:ingress"), {"ingress"}),
        (certificate("spiffe://x/y", common="okome:ingress"), {"ingress"}),
        # What the URI names say counts, if they say anything of ours.
        (certificate("okome:broker", common="okome:admin"), {"broker"}),
        (certificate("okome:broker.evil", "xokome:admin", "OKOME:ADMIN"), set()),
        (certificate(common="okome:broker,okome:admin"), set()),
        ({}, set()),
        (None, set()),
        ({"subject": ()}, set()),
    ],
)
def test_the_roles_of_a_certificate(shown: dict[str, Any] | None, roles: set[str]) -> None:
    assert roles_of(shown) == roles

"""The admin commands towards a control plane that speaks mutual TLS only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from okome.errors import OkomeError
from tests.okome.admin.conftest import Place
from tests.support.authority import Authority


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Place]:
    """The credentials have certificates; the same ones serve both sides."""
    place = Place(tmp_path)
    Authority().issue(place.credentials, "okome:admin")
    place.credentials.chmod(0o700)
    with place.serve() as process:
        yield place
        process.terminate()
        process.communicate(timeout=20)


def test_the_certificates_of_the_credentials_are_shown(guarded: Place, tmp_path: Path) -> None:
    assert guarded.json("user", "list")["users"]
    named = ("--url", guarded.url.replace("http", "https"), "--credentials")
    assert guarded.json("user", *named, str(guarded.credentials), "list")["users"]

    bare = tmp_path / "without certificates"
    bare.mkdir()
    key = (guarded.credentials / "admin_key").read_text(encoding="ascii")
    (bare / "admin_key").write_text(key, encoding="ascii")
    with pytest.raises(OkomeError, match="does not answer"):
        guarded.okome("user", *named, str(bare), "list")
    (bare / "tls_cert").write_text("nonsense", encoding="ascii")
    with pytest.raises(OkomeError, match="cannot be used"):
        guarded.okome("user", *named, str(bare), "list")

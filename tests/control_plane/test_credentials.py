"""The credentials directory: what is read, and what is told when it cannot be."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from control_plane.credentials import CredentialsError, read_credentials
from tests.control_plane.harness import API_KEY, DATA_KEY, DATA_KEY_TEXT, SERVICE_KEY, SESSION_KEY

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def pem(key: Private, encryption: KeySerializationEncryption | None = None) -> bytes:
    wrapped = encryption or NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, wrapped)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "service_key").write_text(SERVICE_KEY + "\n")
    (tmp_path / "api_key").write_text(API_KEY + "\n")
    (tmp_path / "session_key").write_bytes(pem(SESSION_KEY))
    (tmp_path / "data_key").write_text(DATA_KEY_TEXT + "\n")
    return tmp_path


def test_the_files_are_read_and_never_shown(directory: Path) -> None:
    credentials = read_credentials(directory)
    assert (credentials.service_key, credentials.api_key) == (SERVICE_KEY, API_KEY)
    assert credentials.session_key.private_bytes_raw() == SESSION_KEY.private_bytes_raw()
    for text in (repr(credentials), str(credentials), f"{credentials!s}"):
        assert SERVICE_KEY not in text
        assert API_KEY not in text
        assert DATA_KEY_TEXT not in text
    assert credentials.data_keys == (DATA_KEY,)


def test_a_data_key_from_before_is_read_too(directory: Path) -> None:
    (directory / "data_key_previous").write_text(base64.b64encode(b"o" * 32).decode())
    assert read_credentials(directory).data_keys == (DATA_KEY, b"o" * 32)
    (directory / "data_key_previous").write_text("no key")
    refused(directory, "data_key_previous", "32 random bytes")


def test_others_are_read_if_they_are_there(directory: Path) -> None:
    assert read_credentials(directory).other_session_keys == ()
    assert read_credentials(directory).admin_key is None
    following, before = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
    (directory / "session_key_next").write_bytes(pem(following))
    (directory / "session_key_previous").write_bytes(pem(before))
    (directory / "admin_key").write_text("a" * 43)
    (directory / "oidc_client_secret").write_text("s3cret\n")
    credentials = read_credentials(directory)
    assert [key.private_bytes_raw() for key in credentials.other_session_keys] == [
        following.private_bytes_raw(),
        before.private_bytes_raw(),
    ]
    assert (credentials.admin_key, credentials.oidc_client_secret) == ("a" * 43, "s3cret")


@pytest.mark.parametrize("name", ["service_key", "api_key", "session_key", "data_key"])
def test_a_missing_or_unreadable_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    refused(directory, name, "missing")
    (directory / name).mkdir()
    refused(directory, name, "cannot be read")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("service_key", b"", "32 to 512"),
        ("service_key", b"short", "32 to 512"),
        ("service_key", b"two words " * 8, "32 to 512"),
        ("api_key", b"sk-1234", "`ok_` and 43"),
        ("api_key", b"\xff\xfe", "ASCII"),
        ("data_key", b"c2hvcnQ=", "32 random bytes in base64"),
        ("session_key", b"not a key", "PEM"),
        ("session_key_next", b"", "PEM"),
        ("session_key_previous", b"not a key", "PEM"),
        ("admin_key", b"short", "32 to 512"),
        ("session_key", pem(ec.generate_private_key(ec.SECP256R1())), "Ed25519"),
        ("session_key", pem(SESSION_KEY, BestAvailableEncryption(b"x")), "unencrypted"),
    ],
)
def test_a_wrong_file_is_named_and_not_quoted(
    directory: Path, name: str, content: bytes, reason: str
) -> None:
    (directory / name).write_bytes(content)
    message = refused(directory, name, reason)
    assert not content or content.decode(errors="replace") not in message


def refused(directory: Path, name: str, reason: str) -> str:
    with pytest.raises(CredentialsError, match=reason) as caught:
        read_credentials(directory)
    message = str(caught.value)
    assert message.startswith(str(directory / name))
    assert "\n" not in message
    return message

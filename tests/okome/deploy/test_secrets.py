"""Secrets are made once; certificates anew when they expire or say something else."""

from __future__ import annotations

import datetime
import re
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from contracts.channel import roles_of
from control_plane.credentials import read_credentials
from inventory.load import LOCAL, load_cluster
from inventory.tls import TlsFiles, client_context, server_context
from okome.deploy.secrets import ensure_secrets
from okome.errors import OkomeError

CLUSTER = load_cluster(LOCAL.with_name("cluster.yml"))
NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
VAULTED = b"$ANSIBLE_VAULT;1.1;AES256\n00\n"


def content(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_second_time_nothing_is_made(tmp_path: Path) -> None:
    made = ensure_secrets(CLUSTER, tmp_path / "s", NOW)
    before = content(tmp_path / "s")

    assert "authority" in made
    assert "nodes/okome-node-03" in made
    assert ensure_secrets(CLUSTER, tmp_path / "s", NOW) == []
    assert content(tmp_path / "s") == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "s").rglob("*"))


def test_certificates_are_renewed_before_they_expire(tmp_path: Path) -> None:
    ensure_secrets(CLUSTER, tmp_path / "s", NOW)
    before = content(tmp_path / "s")

    made = ensure_secrets(CLUSTER, tmp_path / "s", NOW + datetime.timedelta(days=800))

    after = content(tmp_path / "s")
    assert "ingress/vip.pem" in made
    assert "authority" not in made
    assert after["nodes/okome-node-03/tls_ca"] == before["nodes/okome-node-03/tls_ca"]
    assert after["nodes/okome-node-03/tls_cert"] != before["nodes/okome-node-03/tls_cert"]


def test_what_is_vaulted_is_left_alone(tmp_path: Path) -> None:
    ensure_secrets(CLUSTER, tmp_path / "s", NOW)
    for name in ("authority/key.pem", "credentials/service_key", "ingress/vip.pem"):
        (tmp_path / "s" / name).write_bytes(VAULTED)

    assert ensure_secrets(CLUSTER, tmp_path / "s", NOW) == []

    (tmp_path / "s/nodes/okome-node-04/tls_cert").unlink()
    with pytest.raises(OkomeError, match=re.escape("ansible-vault decrypt")):
        ensure_secrets(CLUSTER, tmp_path / "s", NOW)


def test_the_planes_can_use_them(tmp_path: Path) -> None:
    ensure_secrets(CLUSTER, tmp_path / "s", datetime.datetime.now(datetime.UTC))
    own = tmp_path / "s/nodes/okome-control"

    assert read_credentials(tmp_path / "s/credentials").data_keys
    for node in ("okome-control", "okome-node-03", "okome-node-01"):
        place = tmp_path / "s/nodes" / node
        files = TlsFiles(place / "tls_cert", place / "tls_key", place / "tls_ca")
        assert client_context(files).verify_mode is ssl.CERT_REQUIRED
        assert server_context(files).verify_mode is ssl.CERT_REQUIRED
    control = x509.load_pem_x509_certificate((own / "tls_cert").read_bytes())
    names = control.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["okome-control"]


@pytest.mark.parametrize(
    ("node", "role"),
    [("okome-node-03", "broker"), ("okome-node-01", "ingress"), ("okome-node-09", "observer")],
)
def test_a_node_s_certificate_says_its_role(tmp_path: Path, node: str, role: str) -> None:
    ensure_secrets(CLUSTER, tmp_path / "s", NOW)

    pem = (tmp_path / "s/nodes" / node / "tls_cert").read_bytes()
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    assert roles_of({"subjectAltName": tuple(("URI", uri) for uri in uris)}) == {role}

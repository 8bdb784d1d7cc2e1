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
from okome.deploy.authority import Names, make_authority
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


def test_a_certificate_of_the_operators_own_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "s/ingress/vip.pem"
    ensure_secrets(CLUSTER, tmp_path / "s", NOW)
    own = b"".join(make_authority("another", NOW).issue(Names("okome", ("okome",)), NOW))
    place.write_bytes(own)

    assert ensure_secrets(CLUSTER, tmp_path / "s", NOW) == []
    assert place.read_bytes() == own


def test_one_that_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    ensure_secrets(CLUSTER, tmp_path / "s", NOW)
    authority = make_authority("another", NOW)
    cert, _ = authority.issue(Names("okome"), NOW)
    _, other = authority.issue(Names("okome"), NOW)
    for pem, said in (
        (cert + other, "its key is another certificate's"),
        (cert, "it does not hold a certificate and its key"),
        (b"nonsense", "it does not hold a certificate and its key"),
    ):
        (tmp_path / "s/ingress/vip.pem").write_bytes(pem)
        with pytest.raises(OkomeError, match=rf"vip\.pem: {said}.*; put another there"):
            ensure_secrets(CLUSTER, tmp_path / "s", NOW)


def test_one_that_has_expired_or_is_not_yet_valid_is_refused(tmp_path: Path) -> None:
    ensure_secrets(CLUSTER, tmp_path / "s", NOW)
    place = tmp_path / "s/ingress/vip.pem"
    for made, said in (
        (NOW - datetime.timedelta(days=900), "it has expired on 2026-09-07"),
        (NOW + datetime.timedelta(days=3), "it is not valid before 2026-11-23 23:00 UTC"),
    ):
        place.write_bytes(b"".join(make_authority("another", made).issue(Names("okome"), made)))
        with pytest.raises(OkomeError, match=said):
            ensure_secrets(CLUSTER, tmp_path / "s", NOW)


def test_an_authority_that_has_expired_is_told(tmp_path: Path) -> None:
    ensure_secrets(CLUSTER, tmp_path / "s", NOW)
    with pytest.raises(OkomeError, match="the authority has expired on 2036-11-18"):
        ensure_secrets(CLUSTER, tmp_path / "s", NOW + datetime.timedelta(days=4000))


def test_the_operator_may_administer(tmp_path: Path) -> None:
    made = ensure_secrets(CLUSTER, tmp_path / "s", NOW)
    place = tmp_path / "s/operator"
    certificate = x509.load_pem_x509_certificate((place / "tls_cert").read_bytes())
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    uris = alternative.value.get_values_for_type(x509.UniformResourceIdentifier)

    assert "operator" in made
    assert roles_of({"subjectAltName": [("URI", uri) for uri in uris]}) == {"admin"}
    assert (place / "admin_key").read_bytes() == (tmp_path / "s/credentials/admin_key").read_bytes()

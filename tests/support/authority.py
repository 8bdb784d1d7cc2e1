"""A certificate authority for one test."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from inventory.tls import TlsFiles, tls_files

DAY = datetime.timedelta(days=1)


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Authority:
    """Signs certificates, and writes them where a process looks for them."""

    def __init__(self, common: str = "test authority") -> None:
        self._name = name(common)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self._name, self._key.public_key(), [], authority=True)

    def issue(
        self,
        directory: Path,
        *uris: str,
        common: str = "somebody",
        dns: tuple[str, ...] = (),
        address: str | None = "127.0.0.1",
        expired: bool = False,
        password: bytes | None = None,
    ) -> TlsFiles:
        """`tls_cert`, `tls_key` and `tls_ca` in a directory, which is made."""
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(host) for host in dns]
        if address is not None:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        signed = self._sign(name(common), key.public_key(), names, expired=expired)
        form = BestAvailableEncryption(password) if password else NoEncryption()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, form)
        (directory / "tls_cert").write_bytes(signed.public_bytes(Encoding.PEM))
        (directory / "tls_key").write_bytes(pem)
        (directory / "tls_ca").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        files = tls_files(directory)
        assert files is not None
        return files

    def believed(self) -> ssl.SSLContext:
        """A client's context that believes this authority and shows nothing itself."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.certificate.public_bytes(Encoding.PEM).decode())
        return context

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        names: list[x509.GeneralName],
        *,
        authority: bool = False,
        expired: bool = False,
    ) -> x509.Certificate:
        end = datetime.datetime.now(datetime.UTC) + (-DAY if expired else DAY)
        constraints = x509.BasicConstraints(ca=authority, path_length=None)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - 3 * DAY)
            .not_valid_after(end)
            .add_extension(constraints, critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())

"""A small certificate authority of the cluster's own: one key, and certificates for nodes."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)
_AUTHORITY = 3650 * _DAY
# The longest that Apple's clients take from an authority that was added by hand.
_CERTIFICATE = 825 * _DAY
# A clock that is a little behind must not find a certificate that is not yet valid.
_EARLIER = datetime.timedelta(hours=1)
RENEW_BEFORE = 60 * _DAY


@dataclass(frozen=True, slots=True)
class Names:
    """What a certificate says of its owner. `role` as in contracts/channel.py."""

    common: str
    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    role: str | None = None

    def general(self) -> list[x509.GeneralName]:
        """As they stand in a certificate."""
        roles = [self.role] if self.role else []
        return [
            *(x509.DNSName(host) for host in self.hosts),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in self.addresses),
            *(x509.UniformResourceIdentifier(role) for role in roles),
        ]


@dataclass(frozen=True, slots=True, repr=False)
class Authority:
    """Its certificate and key, both PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Authority(…)"

    def issue(self, names: Names, now: datetime.datetime) -> tuple[bytes, bytes]:
        """Certificate and key, for both ends of a connection."""
        issuer = x509.load_pem_x509_certificate(self.certificate)
        signing = load_pem_private_key(self.key, password=None)
        if not isinstance(signing, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's key is not of an elliptic curve")
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            _builder(names.common, key.public_key(), now, _CERTIFICATE)
            .issuer_name(issuer.subject)
            .add_extension(x509.SubjectAlternativeName(names.general()), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(_authority_id(signing), critical=False)
        )
        signed = builder.sign(signing, hashes.SHA256())
        return signed.public_bytes(Encoding.PEM), _pem(key)


def make_authority(name: str, now: datetime.datetime) -> Authority:
    """A new one."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(name, key.public_key(), now, _AUTHORITY)
        .issuer_name(_subject(name))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(_authority_id(key), critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), _pem(key))


def fits(certificate: bytes, authority: bytes, names: Names, now: datetime.datetime) -> bool:
    """Does a certificate say just this, by this authority, for long enough from now?"""
    found = x509.load_pem_x509_certificate(certificate)
    try:
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # a signature or an issuer that differs, each with an error of its own
        return False
    if set(alternative) != set(names.general()):
        return False
    return found.not_valid_after_utc - now > RENEW_BEFORE


def is_of(certificate: bytes, authority: bytes) -> bool:
    """Was a certificate (PEM, the first of a chain) signed by the authority?"""
    found = x509.load_pem_x509_certificate(certificate)
    try:
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except Exception:  # a signature or an issuer that differs, each with an error of its own
        return False
    return True


def expiry(certificate: bytes) -> datetime.datetime:
    """Until when a certificate (PEM) is valid."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def fault_of_pair(pem: bytes, now: datetime.datetime) -> str | None:
    """What keeps a certificate with its chain and key, in one PEM, from being used."""
    try:
        found = x509.load_pem_x509_certificates(pem)[0]
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, IndexError):
        return "it does not hold a certificate and its key, both PEM and the key unencrypted"
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != found.public_key().public_bytes(*form):
        return "its key is another certificate's"
    if found.not_valid_after_utc <= now:
        return f"it has expired on {found.not_valid_after_utc:%Y-%m-%d}"
    if found.not_valid_before_utc > now:
        return f"it is not valid before {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return None


def _builder(
    name: str, key: ec.EllipticCurvePublicKey, now: datetime.datetime, life: datetime.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _authority_id(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

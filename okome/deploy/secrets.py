"""The secrets of a cluster: made once, in one directory of whoever deploys it.

    credentials/    keys and passwords of the planes, each a file
    authority/      certificate.pem, key.pem: the cluster's own authority
    nodes/NAME/     tls_cert, tls_key, tls_ca of a node; control.pem of an ingress
    ingress/        vip.pem: certificate and key by which clients know the VIP
    operator/       what `okome user` and its like need: `--credentials` names this directory

Each file may be encrypted by `ansible-vault`: Ansible decrypts it on its way to a node, and
here it is left as it is. Only to make a certificate the authority's key must be readable.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from inventory.model import Cluster, Node
from okome.credentials import ensure_credentials, write_secret
from okome.deploy.authority import (
    Authority,
    Names,
    expiry,
    fault_of_pair,
    fits,
    is_of,
    make_authority,
)
from okome.errors import OkomeError
from okome.paths import make_private

# The port names the socket, as in the role `postgres`.
DATABASE_URL = "postgresql://okome:{password}@/okome?host=/run/postgresql&port=5486"
_VAULT = b"$ANSIBLE_VAULT"
_ROLES = {
    "stream": "okome:broker",
    "speculative": "okome:broker",
    "ingress": "okome:ingress",
    "observability": "okome:observer",
    "control": None,
}


def ensure_secrets(cluster: Cluster, directory: Path, now: datetime.datetime) -> list[str]:
    """Makes what is missing, and anew what expires within 60 days or names another address.

    Returns the names of what was made. Raises OkomeError.
    """
    make_private(directory)
    before = set(directory.glob("credentials/*"))
    ensure_credentials(directory / "credentials")
    for name in ("redis_password", "cache_password", "grafana_password"):
        if not (directory / "credentials" / name).exists():
            write_secret(directory / "credentials" / name, secrets.token_urlsafe(32).encode())
    _database(directory / "credentials")
    made = [f"credentials/{path.name}" for path in directory.glob("credentials/*")
            if path not in before]  # fmt: skip
    return sorted(made) + list(_certificates(cluster, directory, now))


def _database(place: Path) -> None:
    """How the control plane signs in to the PostgreSQL beside it: the password, and its URL."""
    password, url = place / "database_password", place / "database_url"
    if password.exists() or url.exists():
        return
    chosen = secrets.token_urlsafe(32)
    write_secret(password, chosen.encode())
    write_secret(url, DATABASE_URL.format(password=chosen).encode())


def vip_names(cluster: Cluster) -> Names:
    """What clients call: the VIP, and each ingress by itself."""
    ingress = cluster.role("ingress")
    return Names(
        common=cluster.name,
        hosts=(cluster.name, *(node.name for node in ingress)),
        addresses=(cluster.vip, *(node.address for node in ingress)),
    )


def node_names(node: Node) -> Names:
    """What a node is to the others."""
    return Names(node.name, (node.name,), (node.address,), _ROLES[node.role])


def _certificates(cluster: Cluster, directory: Path, now: datetime.datetime) -> Iterator[str]:
    place = directory / "authority"
    make_private(place)
    certificate, key = place / "certificate.pem", place / "key.pem"
    if not certificate.exists():
        new = make_authority(f"{cluster.name} authority", now)
        write_secret(key, new.key)
        write_secret(certificate, new.certificate)
        yield "authority"
    believed = certificate.read_bytes()
    if expiry(believed) <= now:
        raise OkomeError(
            f"{certificate}: the authority has expired on {expiry(believed):%Y-%m-%d}; move "
            f"{place} away for a new one, which all clients have to believe then"
        )

    def issue(names: Names) -> tuple[bytes, bytes]:
        if not key.exists() or _is_vaulted(key):
            raise OkomeError(
                f"a certificate of {names.common} is to be made, and {key} cannot be read; "
                f"decrypt it with `ansible-vault decrypt {key}`"
            )
        return Authority(believed, key.read_bytes()).issue(names, now)

    make_private(directory / "nodes")
    make_private(directory / "ingress")
    if _for_operator(directory, believed, issue, now):
        yield "operator"
    for node in cluster.nodes:
        if node.role in _ROLES and _for_node(node, directory / "nodes", believed, issue, now):
            yield f"nodes/{node.name}"
    vip, names = directory / "ingress/vip.pem", vip_names(cluster)
    if not _is_own(vip, believed, now) and not _keeps(vip, believed, names, now):
        write_secret(vip, b"".join(issue(names)))
        yield "ingress/vip.pem"


def _for_operator(
    directory: Path,
    believed: bytes,
    issue: Callable[[Names], tuple[bytes, bytes]],
    now: datetime.datetime,
) -> bool:
    """Was a certificate made for whoever administers the cluster?"""
    place, names = directory / "operator", Names("operator", role="okome:admin")
    make_private(place)
    write_if_other(place / "admin_key", (directory / "credentials/admin_key").read_bytes())
    write_if_other(place / "tls_ca", believed)
    if _keeps(place / "tls_cert", believed, names, now):
        return False
    cert, key = issue(names)
    write_secret(place / "tls_key", key)
    write_secret(place / "tls_cert", cert)
    return True


def _for_node(
    node: Node,
    nodes: Path,
    believed: bytes,
    issue: Callable[[Names], tuple[bytes, bytes]],
    now: datetime.datetime,
) -> bool:
    """Was a certificate made for it?"""
    place = nodes / node.name
    make_private(place)
    write_if_other(place / "tls_ca", believed)
    if _keeps(place / "tls_cert", believed, node_names(node), now):
        return False
    cert, key = issue(node_names(node))
    write_secret(place / "tls_key", key)
    # HAProxy takes both in one file.
    write_secret(place / "control.pem", cert + key)
    write_secret(place / "tls_cert", cert)
    return True


def write_if_other(path: Path, content: bytes) -> None:
    """Leaves a file alone that says it already, so that nothing looks new."""
    if not path.exists() or path.read_bytes() != content:
        write_secret(path, content)


def _keeps(path: Path, believed: bytes, names: Names, now: datetime.datetime) -> bool:
    if not path.exists():
        return False
    return _is_vaulted(path) or fits(path.read_bytes(), believed, names, now)


def _is_own(vip: Path, believed: bytes, now: datetime.datetime) -> bool:
    """Is it a certificate that the operator has put there, of another authority? Raises
    OkomeError for one that cannot be used."""
    if not vip.exists() or _is_vaulted(vip):
        return False
    pem = vip.read_bytes()
    if (fault := fault_of_pair(pem, now)) is None:
        return not is_of(pem, believed)
    if b"BEGIN CERTIFICATE" in pem and is_of(pem, believed):
        return False  # one of ours, which is made anew
    raise OkomeError(
        f"{vip}: {fault}; put another there, or remove it for one of the cluster's own"
    )


def _is_vaulted(path: Path) -> bool:
    return path.read_bytes().startswith(_VAULT)

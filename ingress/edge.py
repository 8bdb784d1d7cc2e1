"""What the ingress of a cluster has beyond that of one machine: TLS, limits of rate, and a
second node that shares what it knows of clients. Pure text, as in `haproxy.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.policy import SESSION_COOKIE
from contracts.problems import ProblemError
from ingress.errors import http_return
from inventory.model import Cluster, Node

# What the two nodes tell each other of their clients' rates.
PEERS_PORT = 10000
_REQUESTS_S = 10
_JOBS_S = 60


@dataclass(frozen=True, slots=True)
class Rates:
    """How much one client may: `connections` at once from an address, `requests` in ten
    seconds of an address or a credential, new `jobs` in a minute of a credential."""

    connections: int
    requests: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Edge:
    """`certificates`: a PEM file of certificate chain and key, or a directory of them;
    `socket`: path of the socket by which HAProxy is told to drain and hands over its
    listeners when it is reloaded."""

    certificates: str
    rates: Rates
    socket: str = "/run/haproxy/admin.sock"


def global_lines(node: Node, edge: Edge) -> list[str]:
    """Of the section `global`. Ciphers as Mozilla's intermediate profile 5.7 has them."""
    ciphers = (
        "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    )  # fmt: skip
    return [
        f"localpeer {node.name}",
        f'stats socket "{edge.socket}" mode 660 level admin expose-fd listeners',
        "ssl-default-bind-options prefer-client-ciphers ssl-min-ver TLSv1.2 no-tls-tickets",
        f"ssl-default-bind-ciphers {':'.join(ciphers)}",
        "ssl-default-server-options ssl-min-ver TLSv1.2",
    ]


def bind_options(edge: Edge) -> str:
    """Behind the address of a public `bind`."""
    return f' ssl crt "{edge.certificates}" alpn h2,http/1.1'


def redirect(cluster: Cluster, node: Node) -> list[str]:
    """The frontend that sends plain HTTP to TLS, and serves nothing."""
    return [
        "frontend redirect",
        f"bind {cluster.vip}:{cluster.redirect_port}",
        f"bind {node.address}:{cluster.redirect_port}",
        "# 308 keeps the method: a POST stays one.",
        "http-request redirect scheme https code 308",
    ]


def peers(cluster: Cluster) -> list[str]:
    """The nodes that share the tables below."""
    return [
        "peers ingress",
        *(f"peer {n.name} {n.address}:{PEERS_PORT}" for n in cluster.role("ingress")),
    ]


def tables() -> list[list[str]]:
    """A backend each: a name for a table. Connections are each node's own to count."""
    shared = f"expire {2 * _JOBS_S}s peers ingress store"
    return [
        [
            "backend rate_connections",
            "stick-table type ipv6 size 100k expire 30s store conn_cur",
        ],
        [
            "backend rate_addresses",
            f"stick-table type ipv6 size 100k {shared} http_req_rate({_REQUESTS_S}s)",
        ],
        [
            "backend rate_credentials",
            "# By a hash: no credential lies in this table, nor goes to the other node.",
            f"stick-table type binary len 20 size 100k {shared} "
            f"http_req_rate({_REQUESTS_S}s),gpc0_rate({_JOBS_S}s)",
        ],
    ]


def connections(rates: Rates) -> list[str]:
    """Of the public frontend, before any request is read."""
    return [
        "tcp-request connection track-sc2 src table rate_connections",
        "# Up to here they are answered 429, below; more are not answered at all.",
        f"tcp-request connection reject if {{ sc_conn_cur(2) gt {2 * rates.connections} }}",
    ]


def limits(rates: Rates) -> list[str]:
    """Of the public frontend, after `txn.path` is set: who asks for too much is told so."""
    new_job = "^/(chat|v1/(jobs|chat/completions))/?$"
    return [
        "http-request track-sc0 src table rate_addresses",
        "http-request set-var(txn.credential) req.hdr(Authorization)",
        f"http-request set-var(txn.credential) req.cook({SESSION_COOKIE}) "
        "unless { var(txn.credential) -m found }",
        "http-request track-sc1 var(txn.credential),sha1 table rate_credentials "
        "if { var(txn.credential) -m found }",
        f"acl new_job var(txn.path) -m reg {new_job}",
        "http-request sc-inc-gpc0(1) if new_job METH_POST { var(txn.credential) -m found }",
        *http_return(
            _too_many("connections", rates.connections, None),
            f"{{ sc_conn_cur(2) gt {rates.connections} }}",
        ),
        *http_return(
            _too_many("requests", rates.requests, _REQUESTS_S),
            f"{{ sc_http_req_rate(0) gt {rates.requests} }}",
            f"{{ sc_http_req_rate(1) gt {rates.requests} }}",
        ),
        *http_return(
            _too_many("jobs", rates.jobs, _JOBS_S),
            f"new_job METH_POST {{ sc_gpc0_rate(1) gt {rates.jobs} }}",
        ),
    ]


def security_headers() -> list[str]:
    """Of every answer. What the page may load is said by the broker that serves it."""
    return [
        'http-after-response set-header Strict-Transport-Security "max-age=31536000"',
        "http-after-response set-header X-Content-Type-Options nosniff",
        "http-after-response set-header Referrer-Policy no-referrer",
        "http-after-response set-header X-Frame-Options DENY",
    ]


def _too_many(what: str, most: int, seconds: int | None) -> ProblemError:
    """429 `rate_limited`; the fields as in draft-ietf-httpapi-ratelimit-headers."""
    window = "" if seconds is None else f";w={seconds}"
    span = "at once" if seconds is None else f"in {seconds} seconds"
    return ProblemError(
        "rate_limited",
        f"At most {most} {what} {span}; slow down.",
        retry_after=seconds or 1,
        fields={
            "RateLimit-Policy": f'"{what}";q={most}{window}',
            "RateLimit": f'"{what}";r=0;t={seconds or 1}',
        },
    )

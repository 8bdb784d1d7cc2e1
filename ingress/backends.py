"""The backends of HAProxy's configuration: who takes which requests, and how they get there.
Pure text, as in `haproxy.py`, which says what goes to which.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ingress import errors
from inventory.model import Cluster

ROUTE_COOKIE: Final = "okome_route"

# Heartbeats come every 15 s at most, so four of them missing means that nobody is there.
STREAM_TIMEOUT: Final = 60


@dataclass(frozen=True, slots=True)
class ControlTls:
    """How the control plane is reached behind mutual TLS: paths of PEM files.

    `cert` holds certificate (role `okome:ingress`) and key in one. The other side's
    certificate must be of an authority in `ca` and name its node as a DNS name.
    """

    cert: str
    ca: str


def programs(cluster: Cluster) -> list[str]:
    """Takes new work of programs, by the hash of their credential."""
    return [
        "backend programs",
        "balance hdr(Authorization)",
        "hash-type consistent",
        *_carry(),
        *_check("/readyz"),
        "# A refused connection counts at once, not at the next check: a second dead broker",
        "# would else be tried in turn with the first until the retries are used up.",
        "default-server check inter 500ms fastinter 200ms fall 2 rise 1 "
        "observe layer4 error-limit 1 on-error mark-down",
        *(f"server {name} {address}" for name, address in _workers(cluster)),
    ]


def browsers(cluster: Cluster) -> list[str]:
    """Takes new work of browsers, each at the broker that its cookie names."""
    return [
        "backend browsers",
        "balance roundrobin",
        "# No `nocache`: it would add a Cache-Control of its own to a stream's.",
        f'cookie {ROUTE_COOKIE} insert indirect httponly attr "SameSite=Lax"',
        *_carry(),
        *(
            f"server {name} {address} cookie {name} track programs/{name}"
            for name, address in _workers(cluster)
        ),
    ]


def jobs(cluster: Cluster) -> list[str]:
    """Takes what names a job, at the broker that is its home while that serves."""
    workers = list(_workers(cluster))
    return [
        "backend jobs",
        "# All viewers of a job whose home is down meet at the same other broker.",
        "balance hash var(txn.job)",
        "hash-type consistent",
        "# Reading changes nothing, so it may be asked twice; and a browser's EventSource gives",
        "# up for good on the 502 that it would get while its broker dies.",
        "retry-on conn-failure empty-response",
        "http-request disable-l7-retry unless METH_GET",
        *_carry(),
        *(f"use-server {name} if {_home_serves(cluster, name)}" for name, _ in workers),
        *_check("/streamz"),
        "http-check disable-on-404",
        "# A host that lost its power refuses nothing: its streams are ended by the check. A",
        "# busy broker accepts and is slow, which takes three times `timeout check` to be down.",
        "timeout check 2s",
        "default-server check inter 500ms fall 3 rise 1 on-marked-down shutdown-sessions",
        *(f"server {name} {address}" for name, address in workers),
    ]


def _home_serves(cluster: Cluster, name: str) -> str:
    """When a job's requests go to its home.

    With a shared log only while the home takes new work too: `use-server` would else pick
    a draining server in spite of its 404.
    """
    at_home = f"{{ var(txn.home) -m str {name} }}"
    if cluster.durability == "none":
        return at_home
    return f"{at_home} {{ srv_is_up(programs/{name}) }}"


def control(cluster: Cluster, tls: ControlTls | None) -> list[str]:
    """Takes what carries no token. `tls`: how it is reached behind mutual TLS."""
    (node,) = cluster.role("control")
    channel = ""
    if tls is not None:
        channel = f' ssl verify required verifyhost {node.name} ca-file "{tls.ca}" crt "{tls.cert}"'
    return [
        "backend control",
        *errors.of_control(),
        "http-after-response set-status 503 if { status 502 504 }",
        "timeout server 15s",
        *_check("/readyz"),
        "default-server check inter 500ms fall 2 rise 1",
        f"server {node.name} {node.address}:{node.port}{channel}",
    ]


def _carry() -> list[str]:
    """How requests are carried to brokers.

    TCP keep-alive ends streams of a host that vanished, where a failing check must not
    (it also fails while a broker drains).
    """
    stream = f"http-request set-timeout server {STREAM_TIMEOUT}s if"
    return [
        "# A stream speaks every 15 s; only answers in one piece may be silent for longer.",
        f"{stream} {{ var(txn.path) -m str /v1/stream }}",
        f"{stream} METH_GET {{ req.hdr(Accept) -m sub text/event-stream }}",
        "option srvtcpka",
        "srvtcpka-idle 2s",
        "srvtcpka-intvl 1s",
        "srvtcpka-cnt 3",
    ]


def _check(path: str) -> list[str]:
    return [
        "option httpchk",
        f"http-check send meth GET uri {path} ver HTTP/1.1 hdr Host okome hdr Connection close",
        "http-check expect status 200",
    ]


def _workers(cluster: Cluster) -> Iterable[tuple[str, str]]:
    """(name, address:port) of every broker process; the name is the home in its job ids."""
    for node in cluster.brokers():
        for worker in range(node.workers):
            yield f"n{node.number:02d}w{worker}", f"{node.address}:{node.port + worker}"

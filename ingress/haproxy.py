"""HAProxy's configuration as pure text from the inventory; for HAProxy 2.6 and later.

Where a request goes:

    hidden path (/internal, /metrics) ........ 404, here
    accounts (/auth, /v1/sessions, ...) ...... control
    names a job (path or job_id=) ............ jobs: its home broker, else any other
    carries the route cookie, or no key ...... browsers: by cookie, else round robin
    carries an Authorization header .......... programs: by hash of it

`programs` and `browsers` take new work, so their servers are checked by /readyz: a
draining broker leaves them within a second. `jobs` is checked by /streamz: with a shared
log a draining broker answers 404, which sends new streams elsewhere and leaves those that
run; without one it still serves the jobs that only it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ingress import backends, errors
from ingress.backends import ROUTE_COOKIE, STREAM_TIMEOUT, ControlTls
from ingress.edge import (
    Edge,
    bind_options,
    connections,
    global_lines,
    peers,
    redirect,
    security_headers,
    tables,
)
from ingress.edge import (
    limits as rate_limits,
)
from inventory.model import Cluster, Node

# What may wait in the kernel for a client that is slow, and from a broker (bytes; Linux takes
# twice as much). A client that is slow and takes something is to stay: the kernel asks for more
# when a third of the first is free, in 30 s (`send_timeout`) at 350 bytes a second.
CLIENT_BUFFER, SERVER_BUFFER = 16_384, 65_536


@dataclass(frozen=True, slots=True)
class Limits:
    """What the ingress needs of the settings. `job_deadline` in seconds."""

    job_deadline: float


def render(
    cluster: Cluster,
    node: Node,
    limits: Limits,
    control_tls: ControlTls | None = None,
    edge: Edge | None = None,
) -> str:
    """The whole haproxy.cfg of the ingress `node`; `edge`: that of a cluster."""
    sections = [
        [*_global(), *(global_lines(node, edge) if edge else ())],
        _defaults(limits),
        *([peers(cluster), *tables()] if edge else ()),
        *([redirect(cluster, node)] if edge and cluster.redirect_port else ()),
        _statistics(cluster, node),
        _frontend(cluster, node, edge),
        backends.programs(cluster),
        backends.browsers(cluster),
        backends.jobs(cluster),
        backends.control(cluster, control_tls),
    ]
    return "\n".join(_section(lines) for lines in sections)


def _section(lines: Iterable[str]) -> str:
    head, *body = lines
    return "\n".join([head, *(f"    {line}" if line else "" for line in body)]) + "\n"


def _global() -> list[str]:
    return [
        "global",
        "log stdout format raw local0",
        # Without it, memory is sized by `ulimit -n`, which is a billion in some containers.
        "fd-hard-limit 65536",
        # Else the kernel takes megabytes for a client that takes nothing: this host's memory
        # goes, and the broker, which would end such a stream, never learns of it.
        f"tune.sndbuf.client {CLIENT_BUFFER}",
        f"tune.rcvbuf.server {SERVER_BUFFER}",
    ]


def _defaults(limits: Limits) -> list[str]:
    # A non-streaming answer is silent until it is complete, as long as a job may take.
    longest = int(limits.job_deadline) + 10
    return [
        "defaults",
        "mode http",
        "log global",
        "option httplog",
        "option dontlog-normal",
        "option log-separate-errors",
        "# In a backend this does nothing; without it a client's leaving is noticed late.",
        "option abortonclose",
        "option http-no-delay",
        "option http-ignore-probes",
        "# Brokers close idle connections: a POST sent into one of those would be lost.",
        "http-reuse never",
        "retries 3",
        "option redispatch 1",
        "# Only what never reached a server: anything else could run a job twice.",
        "retry-on conn-failure",
        "timeout connect 1s",
        f"timeout client {STREAM_TIMEOUT + 15}s",
        f"timeout server {longest}s",
        "timeout http-request 10s",
        "timeout http-keep-alive 60s",
        "timeout queue 5s",
        "timeout tunnel 1h",
        "timeout check 1s",
        *errors.of_all(),
    ]


def _statistics(cluster: Cluster, node: Node) -> list[str]:
    return [
        "frontend statistics",
        f"bind {node.address}:{cluster.stats_port}",
        "monitor-uri /healthz",
        "http-request use-service prometheus-exporter if { path /metrics }",
        "# May this node hold the VIP? Only where it has somebody to send work to.",
        "http-request return status 200 if { path /serving } { nbsrv(programs) gt 0 }",
        "http-request return status 503 if { path /serving }",
        "stats enable",
        "stats uri /stats",
        "stats refresh 5s",
    ]


def _frontend(cluster: Cluster, node: Node, edge: Edge | None) -> list[str]:
    listens = (
        f"{cluster.vip}:{cluster.ingress_port}",
        *cluster.also,
        f"{node.address}:{node.port}",
    )
    return [
        "frontend public",
        *(f"bind {listen}{bind_options(edge) if edge else ''}" for listen in listens),
        *(connections(edge.rates) if edge else ()),
        *_identity(),
        *_paths(),
        *((*security_headers(), *rate_limits(edge.rates)) if edge else ()),
        *_routing(),
    ]


def _identity() -> list[str]:
    """Who asks, and which request it is: said by the ingress alone, whatever a client sends."""
    sane = "{ req.hdr(X-Request-Id),length le 64 } { req.hdr(X-Request-Id) -m reg ^[\\w.-]+$ }"
    forged = ("Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Port")
    return [
        "http-request set-var(txn.request_id) req.hdr(X-Request-Id) if " + sane,
        "http-request set-var(txn.request_id) uuid() unless { var(txn.request_id) -m found }",
        "http-request set-header X-Request-Id %[var(txn.request_id)]",
        # Unix microseconds: where a job's time went begins here (observability/traces.py).
        "http-request set-header X-Request-Start %[date(0,us)]",
        "http-after-response set-header X-Request-Id %[var(txn.request_id)]",
        *(f"http-request del-header {name}" for name in forged),
        "http-request set-header X-Forwarded-For %[src]",
        "http-request set-header X-Forwarded-Proto https if { ssl_fc }",
        "http-request set-header X-Forwarded-Proto http unless { ssl_fc }",
    ]


def _paths() -> list[str]:
    return [
        "# Decoded before it is judged: brokers decode too, and /%6detrics is /metrics.",
        "http-request set-var(txn.path) path,url_dec",
        "acl hidden var(txn.path) -m reg ^/+(internal|metrics)(/|$)",
        errors.not_found("hidden"),
        *errors.shapes(),
    ]


def _routing() -> list[str]:
    accounts = "^/(auth|v1/sessions|v1/keys)(/|$)|^/v1/(usage|quota)/?$"
    return [
        "acl of_job var(txn.path) -m beg /v1/jobs/",
        "acl of_completion var(txn.path) -m beg /v1/chat/completions/",
        "http-request set-var(txn.job) var(txn.path),field(4,/) if of_job",
        "http-request set-var(txn.job) var(txn.path),field(5,/) if of_completion",
        "http-request set-var(txn.job) url_param(job_id) unless of_job or of_completion",
        "acl names_job var(txn.job) -m reg ^n[0-9]+w[0-9]+-",
        "http-request set-var(txn.home) var(txn.job),field(1,-) if names_job",
        "",
        f"acl accounts var(txn.path) -m reg {accounts}",
        "use_backend control if accounts",
        "use_backend jobs if names_job",
        f"acl has_route req.cook({ROUTE_COOKIE}) -m found",
        "acl has_key req.hdr(Authorization) -m found",
        "use_backend browsers if has_route or !has_key",
        "default_backend programs",
    ]

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

from ingress import errors
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

ROUTE_COOKIE = "okome_route"

# Heartbeats come every 15 s at most, so four of them missing means that nobody is there.
STREAM_TIMEOUT = 60
# What may wait in the kernel for a client that is slow, and from a broker (bytes; Linux takes
# twice as much). A client that is slow and takes something is to stay: the kernel asks for more
# when a third of the first is free, in 30 s (`send_timeout`) at 350 bytes a second.
CLIENT_BUFFER, SERVER_BUFFER = 16_384, 65_536


@dataclass(frozen=True, slots=True)
class Limits:
    """What the ingress needs of the settings. `job_deadline` in seconds."""

    job_deadline: float


@dataclass(frozen=True, slots=True)
class ControlTls:
    """How the control plane is reached behind mutual TLS: paths of PEM files.

    `cert` holds certificate (role `okome:ingress`) and key in one. The other side's
    certificate must be of an authority in `ca` and name its node as a DNS name.
    """

    cert: str
    ca: str


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
        _programs(cluster),
        _browsers(cluster),
        _jobs(cluster),
        _control(cluster, control_tls),
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


def _programs(cluster: Cluster) -> list[str]:
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


def _browsers(cluster: Cluster) -> list[str]:
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


def _jobs(cluster: Cluster) -> list[str]:
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


def _control(cluster: Cluster, tls: ControlTls | None) -> list[str]:
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

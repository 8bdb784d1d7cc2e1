"""Puts the control plane together: the only module that knows every other."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import httpx
from argon2 import Parameters
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.grants import EngineTarget
from contracts.problems import ProblemError
from control_plane.background import repeating
from control_plane.books import Books
from control_plane.credentials import Credentials
from control_plane.engines import EngineWatch
from control_plane.entrance import Entrance
from control_plane.fleet.polling import Poller
from control_plane.fleet.servers import Fleet
from control_plane.ledger import Ledger
from control_plane.metrics import Metrics
from control_plane.oidc_provider import OidcProvider, provider_of
from control_plane.passwords import COST, Passwords
from control_plane.placing.dispatch import Dispatcher
from control_plane.placing.rules import PlacingRules
from control_plane.plane import PRUNE_EVERY_S, REFRESH_EVERY_S, Plane
from control_plane.policy_source import PolicySource
from control_plane.prober import Prober
from control_plane.proofs import Proven
from control_plane.roster import Roster
from control_plane.routes.account import Account
from control_plane.routes.admin_engines import AdminEngines
from control_plane.routes.admin_limits import AdminLimits
from control_plane.routes.admin_policy import AdminPolicy
from control_plane.routes.admin_reports import AdminReports
from control_plane.routes.admin_users import AdminUsers
from control_plane.routes.conversations import Talks
from control_plane.routes.internal import Internal
from control_plane.routes.oidc import Oidc
from control_plane.routes.operations import Operations
from control_plane.routes.sessions import Sessions
from control_plane.routes.usage import Usage
from control_plane.sealing import Sealer
from control_plane.signing import Signer
from control_plane.store.conversations import Shelf
from control_plane.store.database import Database
from control_plane.store.drained import all_drained
from control_plane.store.keeping import Keeper, keep_nothing
from control_plane.store.migrate import installed_at
from control_plane.store.proven import all_proven, keep_proven
from control_plane.store.users import seed
from control_plane.tools.toolbox import Toolbox
from control_plane.tools.trail import FLUSH_EVERY_S, Trail
from control_plane.web import on_disconnect, on_error, on_http_exception, on_problem
from inventory.model import Cluster
from inventory.settings import Settings
from observability.tracing import Tells

log = logging.getLogger(__name__)

TEND_EVERY_S: Final = 0.25
PROBE_EVERY_S: Final = 0.25
POLICY_EVERY_S: Final = 1.0


def build_app(
    *,
    cluster: Cluster,
    settings: Settings,
    credentials: Credentials,
    database: Database,
    clock: Callable[[], float] = time.time,
    engine_transport: httpx.AsyncBaseTransport | None = None,
    password_cost: Parameters = COST,
    reread: Callable[[], Credentials] | None = None,
    policy: PolicySource | None = None,
    traces: Tells | None = None,
) -> Starlette:
    """The application. Its lifespan seeds the built-in user and watches the engines.

    `database` is open and stays with its owner, who closes it after the lifespan;
    `app.state.plane` is the plane behind the routes.
    `clock` gives Unix seconds; `engine_transport` replaces the network to the engines, and
    `password_cost` what it costs to hash a password; `reread` reads the credentials anew.
    `policy`: without it the inventory's own holds; `traces` takes spans, and is its owner's.
    Raises SettingsError for an OpenID issuer that cannot be one.
    """
    # The environment's proxies are not for engines on the LAN: trust_env is off.
    client = httpx.AsyncClient(transport=engine_transport, trust_env=False)
    policy = policy or PolicySource(cluster, None, clock)
    plane = _plane(
        cluster, settings, policy, credentials, database, clock, client, password_cost, traces
    )
    issuer = httpx.AsyncClient(trust_env=False)
    provider = provider_of(settings, credentials.oidc_client_secret, issuer, clock)
    app = Starlette(
        routes=_routes(plane, provider, reread),
        exception_handlers={
            ProblemError: on_problem,
            HTTPException: on_http_exception,
            ClientDisconnect: on_disconnect,
            Exception: _counting_faults(plane.metrics),
        },
        lifespan=_lifespan(plane, credentials.api_key, (client, issuer)),
    )
    app.router.redirect_slashes = False
    app.state.plane = plane
    return app


def _plane(
    cluster: Cluster,
    settings: Settings,
    policy: PolicySource,
    credentials: Credentials,
    database: Database,
    clock: Callable[[], float],
    client: httpx.AsyncClient,
    password_cost: Parameters,
    traces: Tells | None,
) -> Plane:
    """What the routes work with. `client` asks the engines."""
    metrics = Metrics()
    engines = policy.rules.targets
    watch = EngineWatch(engines, client, clock, metrics)
    fleet = Fleet(watch.states)
    dispatcher = Dispatcher(fleet, settings.lease_ttl, PlacingRules(models={}))
    held, cold = dispatcher.occupancy.held, dispatcher.placer.take_cold
    trail = Trail(metrics, database, clock)
    sealer = Sealer(credentials.data_keys) if credentials.data_keys else None
    reserved_s = settings.job_deadline + settings.lease_ttl
    return Plane(
        settings=settings,
        policy=policy,
        service_key=credentials.service_key,
        signer=Signer(credentials.session_key, credentials.other_session_keys),
        database=database,
        books=Books(
            Ledger(settings.lease_ttl, reserved_s),
            database,
            clock,
            Keeper(sealer) if sealer else keep_nothing,
        ),
        shelf=Shelf(sealer) if sealer else None,
        roster=Roster(settings.streams_per_user),
        engines=watch,
        prober=Prober(
            engines, client, watch.health, clock, metrics, _keeping_proofs(database, clock)
        ),
        fleet=fleet,
        dispatcher=dispatcher,
        poller=Poller(fleet, watch, client, clock, held, cold),
        metrics=metrics,
        clock=clock,
        passwords=Passwords(password_cost),
        tools=Toolbox(trail, clock, time.monotonic),
        trail=trail,
        traces=traces,
        admin_key=credentials.admin_key,
        ingresses=frozenset({cluster.vip, *(node.address for node in cluster.role("ingress"))}),
    )


def _routes(
    plane: Plane, provider: OidcProvider | None, reread: Callable[[], Credentials] | None
) -> list[Route]:
    entrance = Entrance(plane)
    return [
        *Internal(plane).routes(),
        *Oidc(plane, entrance, provider).routes(),
        *Sessions(plane, entrance).routes(),
        *Account(plane).routes(),
        *Usage(plane).routes(),
        *Talks(plane).routes(),
        *Operations(plane).routes(),
        *AdminUsers(plane).routes(),
        *AdminLimits(plane).routes(),
        *AdminPolicy(plane).routes(),
        *AdminEngines(plane).routes(),
        *AdminReports(plane, reread).routes(),
    ]


def _lifespan(
    plane: Plane, api_key: str, clients: Sequence[httpx.AsyncClient]
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for client in clients:
                await stack.enter_async_context(client)
            stack.callback(plane.passwords.close)
            stack.push_async_callback(_keep_tally, plane)
            stack.push_async_callback(plane.books.aclose)
            stack.push_async_callback(_keep_trail, plane)
            stack.push_async_callback(plane.tools.aclose)
            await _prepare(plane, api_key)
            stack.push_async_callback(plane.poller.aclose)
            await stack.enter_async_context(
                repeating("engine watch", TEND_EVERY_S, plane.tend_engines)
            )
            stack.push_async_callback(plane.prober.aclose)
            await stack.enter_async_context(
                repeating("engine probe", PROBE_EVERY_S, plane.prober.check)
            )
            await stack.enter_async_context(repeating("pruning", PRUNE_EVERY_S, plane.prune))
            await stack.enter_async_context(
                repeating("roster", REFRESH_EVERY_S, plane.refresh_roster)
            )
            await stack.enter_async_context(
                repeating("policy", POLICY_EVERY_S, plane.look_at_policy)
            )
            await stack.enter_async_context(
                repeating("audit of tools", FLUSH_EVERY_S, plane.trail.flush)
            )
            yield

    return lifespan


async def _keep_trail(plane: Plane) -> None:
    """The last lines of the audit log on tools, if the store takes them."""
    with suppress(ProblemError):
        await plane.trail.flush()


async def _keep_tally(plane: Plane) -> None:
    """A store that is away costs the counts of the last minute, not the end in peace."""
    with suppress(ProblemError):
        await plane.keep_tally()


async def _prepare(plane: Plane, api_key: str) -> None:
    """What the first request must find: the built-in user and the models."""
    now = plane.clock()

    def first_steps(connection: Connection) -> tuple[bool, float]:
        return seed(connection, api_key, now), installed_at(connection)

    usable, created = await plane.database.run(first_steps, durable=True)
    await plane.reload_roster()
    await plane.books.load()
    if not usable:
        log.warning("the key in the credential `api_key` was revoked and opens nothing")
    plane.created = int(created)
    await plane.begin_policy()
    plane.prober.recall(await plane.database.run(all_proven))
    plane.fleet.set_drained(await plane.database.run(all_drained))
    for grant in plane.books.ledger.open_grants():
        plane.dispatcher.adopt(grant, now)


def _keeping_proofs(
    database: Database, clock: Callable[[], float]
) -> Callable[[EngineTarget, Proven], Awaitable[None]]:
    async def keep(engine: EngineTarget, proven: Proven) -> None:
        # A store that is away costs the next process one probe.
        with suppress(ProblemError):
            await database.run(lambda c: keep_proven(c, engine, proven, clock()))

    return keep


def _counting_faults(
    metrics: Metrics,
) -> Callable[[Request, Exception], Coroutine[None, None, Response]]:
    async def counted(request: Request, error: Exception) -> Response:
        metrics.faults.inc()
        return await on_error(request, error)

    return counted

"""What the tests of the control plane share: a clock, keys, engines that can be put down."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import argon2
import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import URL, Connection, select
from starlette.routing import BaseRoute

from contracts.grants import EngineKind, Settlement, Usage
from control_plane.app import build_app
from control_plane.credentials import Credentials
from control_plane.plane import Plane
from control_plane.policy_source import PolicySource
from control_plane.rulebook import Rulebook, derived_document
from control_plane.store.database import Database
from control_plane.store.enrolment import add_user
from control_plane.store.schema import METADATA
from control_plane.store.users import LOCAL_TIER
from inventory.model import Cluster, EngineSpec, Node
from inventory.settings import Settings

SERVICE_KEY = "s" * 43
API_KEY = "ok_" + "A" * 43
ADMIN_KEY = "a" * 43
SESSION_KEY = Ed25519PrivateKey.generate()
DATA_KEY = b"d" * 32
DATA_KEY_TEXT = base64.b64encode(DATA_KEY).decode()
NOW = 1_800_000_000.0
HOST = "http://okome.test"
# Quick: what it costs is tested elsewhere.
CHEAP = argon2.profiles.CHEAPEST
# One end in each of the two wires.
CONTINUED = b'data: {"choices":[{"finish_reason":"length"}]}\n{"done":true}\n'


def code_of(response: httpx.Response) -> str:
    """The stable code of a refusal; asserts that it is a whole problem."""
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"]
    return str(problem["code"])


class Clock:
    """Unix seconds that pass when a test says so."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Engines(httpx.AsyncBaseTransport):
    """Every engine answers 200, but those whose host is in `down`.

    A probe decides nothing, until `continues` says that a text is continued.
    """

    def __init__(self) -> None:
        self.continues = False
        self.down: set[str] = set()
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        if request.url.host in self.down:
            raise httpx.ConnectError("refused", request=request)
        if request.method == "POST" and self.continues:
            return httpx.Response(200, content=CONTINUED, request=request)
        return httpx.Response(200, request=request)


class Harness:
    """A running control plane and ways to call it."""

    def __init__(
        self, plane: Plane, client: httpx.AsyncClient, engines: Engines, routes: list[BaseRoute]
    ) -> None:
        self.plane = plane
        self.routes = routes
        self.client = client
        self.engines = engines

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A call with the API key."""
        headers = {"Authorization": f"Bearer {API_KEY}"} | options.pop("headers", {})
        return await self.client.request(method, path, headers=headers, **options)

    async def internal(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A call with the service credential."""
        headers = {"Authorization": f"Bearer {SERVICE_KEY}"} | options.pop("headers", {})
        path = f"/internal/v1{path}"
        return await self.client.request(method, path, headers=headers, **options)

    async def grant(self, credential: str = API_KEY, **question: Any) -> httpx.Response:
        asked = {"model": "small", "kind": "job", "prompt_tokens_estimate": 10} | question
        body = {"credential": credential, "node": "n03w0", "request": asked}
        return await self.internal("POST", "/grants", json=body)

    async def settle(self, **changes: Any) -> httpx.Response:
        return await self.internal("POST", "/settlements", json=settlement(**changes))

    async def login(self, api_key: str = API_KEY, **headers: str) -> httpx.Response:
        body = {"api_key": api_key}
        return await self.client.post("/auth/login", json=body, headers=headers)

    async def add_user(self, name: str, password: str | None = None) -> str:
        """A user of the first tier; its id."""
        plane = self.plane
        hashed = await plane.passwords.hash(password) if password else None
        user_id = await plane.database.run(
            lambda c: add_user(c, name, tier=LOCAL_TIER, now=plane.clock(), password=hashed)
        )
        await plane.reload_roster()
        return user_id

    async def sign_in(self, name: str, password: str, **headers: str) -> httpx.Response:
        """A login by name and password."""
        body = {"name": name, "password": password}
        return await self.client.post("/auth/login", json=body, headers=headers)

    async def admin(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A call with the admin's credential."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"} | options.pop("headers", {})
        path = f"/internal/v1/admin{path}"
        return await self.client.request(method, path, headers=headers, **options)

    async def kept(self) -> str:
        """Everything that is in the store, as text."""

        def rows(connection: Connection) -> str:
            tables = METADATA.sorted_tables
            return "\n".join(
                f"{table.name} {tuple(row)!r}"
                for table in tables
                for row in connection.execute(select(table))
            )

        return await self.plane.database.run(rows)

    async def put_down(self, *hosts: str) -> None:
        """These engines stop answering, and that has been noticed."""
        self.engines.down = set(hosts)
        await self.plane.engines.check()
        await self.plane.engines.check()


def cluster() -> Cluster:
    """One control plane; `small` on two engines of two kinds, `other` on one, `scores` on TF."""

    def engine(kind: EngineKind, host: str, model: str, context: int) -> EngineSpec:
        return EngineSpec(kind, f"http://{host}:1", model, context)

    nodes = (
        Node("control", 25, "127.0.0.1", "control", 0),
        Node(
            "gpu-a", 30, "127.0.0.2", "core_gpu", 1,
            engines=(
                engine("vllm", "a.test", "small", 2048),
                engine("tf_serving", "a.test", "scores", 1),
            ),
        ),
        Node(
            "gpu-b", 31, "127.0.0.3", "core_gpu", 1,
            engines=(
                engine("ollama", "b.test", "small", 1024),
                engine("ollama", "b.test", "other", 4096),
            ),
        ),
    )  # fmt: skip
    return Cluster("test", "127.0.0.1", 1, (), 2, "none", nodes)


def rulebook() -> Rulebook:
    """What holds for the cluster without a policy file."""
    return Rulebook(derived_document(cluster()), cluster())


def settlement(**changes: Any) -> dict[str, Any]:
    """A settlement's body."""
    body: dict[str, Any] = {
        "job_id": "n03w0-1",
        "grant_id": "grant_1",
        "lease_id": "lease_1",
        "user_id": "local",
        "model": "small",
        "engine": "vllm",
        "node": "n03w0",
        "outcome": "completed",
        "code": "stop",
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 2},
        "created_at": NOW,
        "first_token_at": NOW + 1,
        "ended_at": NOW + 2,
    }
    return body | changes


def settled(**changes: Any) -> Settlement:
    """The same, typed."""
    body = settlement(**changes)
    return Settlement(**(body | {"usage": Usage(**body["usage"])}))


@asynccontextmanager
async def running(
    url: URL,
    clock: Clock,
    settings: Settings,
    api_key: str | None = None,
    policy: PolicySource | None = None,
) -> AsyncIterator[Harness]:
    """A control plane over the database at `url`."""
    engines = Engines()
    database = Database(url, timeout_s=5.0)
    await database.open(clock())
    try:
        app = build_app(
            cluster=cluster(),
            settings=settings,
            credentials=Credentials(
                SERVICE_KEY,
                api_key or API_KEY,
                SESSION_KEY,
                admin_key=ADMIN_KEY,
                oidc_client_secret="a secret",
                data_keys=(DATA_KEY,),
            ),
            database=database,
            clock=clock,
            engine_transport=engines,
            password_cost=CHEAP,
            policy=policy,
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url=HOST) as client,
        ):
            yield Harness(app.state.plane, client, engines, list(app.routes))
    finally:
        await database.close()

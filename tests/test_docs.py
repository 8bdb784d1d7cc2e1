"""The names that people rely on stand in the documents, each in one list."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from starlette.routing import Route, WebSocketRoute

from contracts.codes import HTTP_CODES, JOB_ERRORS, NOTICES
from control_plane.metrics import Metrics
from control_plane.routes.account import Account
from control_plane.routes.conversations import Talks
from control_plane.routes.oidc import Oidc
from control_plane.routes.sessions import Sessions
from control_plane.routes.usage import Usage
from okome.deploy.certificates import METRIC as CERTIFICATES
from stream_broker.metrics import BrokerMetrics
from stream_broker.routes.chat import chat_routes
from stream_broker.routes.embeddings import embedding_routes
from stream_broker.routes.jobs import job_routes
from stream_broker.routes.openai import openai_routes
from stream_broker.routes.site import OPENAPI, site_routes
from stream_broker.routes.telemetry import telemetry_routes
from stream_broker.routes.tools import tool_routes
from stream_broker.routes.ws import ws_routes
from tests.support.cluster import ROOT

PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
# Served to people and to the machines around, not part of the described API.
UNDESCRIBED = {"/", "/metrics", "/streamz"}


@pytest.mark.parametrize("code", sorted(HTTP_CODES))
def test_every_code_is_in_the_table(code: str) -> None:
    assert f"| {HTTP_CODES[code][0]} | `{code}` |" in PROTOCOL


@pytest.mark.parametrize("code", sorted(JOB_ERRORS | dict.fromkeys(NOTICES)))
def test_every_job_error_and_notice_is_named(code: str) -> None:
    assert f"`{code}`" in PROTOCOL


def test_the_metrics_and_their_document_are_the_same() -> None:
    broker = {metric.name for metric in BrokerMetrics().registry.collect()}
    control = {metric.name for metric in Metrics().registry.collect()}
    documented = set(re.findall(r"^\| `(\w+)`", METRICS, re.MULTILINE))
    # These are read from the running broker's parts (`app.py`).
    gauges = {
        "okome_broker_viewer_lag_events",
        "okome_broker_log_queue_events",
        "okome_broker_backlog_bytes",
        "okome_broker_leases_held",
        "okome_broker_draining",
        "okome_broker_native",
        "okome_broker_delivered_events",
        "okome_broker_jobs_queued",
        "okome_broker_jobs_running",
        "okome_broker_viewers",
        "okome_broker_embeddings_running",
        "okome_broker_cache_bytes",
        "okome_broker_log_away",
        "okome_broker_settlements_spooled",
        "okome_broker_spool_bytes",
        "okome_broker_policy_age_seconds",
    }
    exposed = broker | control | gauges | {CERTIFICATES}
    assert {name.removesuffix("_total") for name in documented} == exposed


def test_every_route_is_described() -> None:
    context: object = None
    described = json.loads(OPENAPI.read_text(encoding="utf-8"))["paths"]
    groups = (job_routes, openai_routes, embedding_routes, chat_routes, tool_routes)
    more = (ws_routes, telemetry_routes, site_routes)
    served = {
        re.sub(r"{(\w+):path}", r"{\1}", route.path)
        for group in (*groups, *more)
        for route in group(context)  # type: ignore[operator]
        if isinstance(route, Route | WebSocketRoute)
    }
    plane: Any = None
    public = (Sessions(plane, plane), Oidc(plane, plane, plane), Account(plane), Usage(plane))
    for calls in (*public, Talks(plane)):
        served |= {route.path for route in calls.routes()}
    assert served - UNDESCRIBED == set(described)

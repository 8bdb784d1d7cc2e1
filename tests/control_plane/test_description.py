"""The description of the internal API: whole, current, and true of every input."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from control_plane.description import ADMINS, describe, rendered
from tests.control_plane.harness import ADMIN_KEY, API_KEY, SERVICE_KEY, Harness
from tests.support.control_process import MODEL, ControlProcess, HealthyEngine

PAGE = Path(__file__).parent.parent.parent / "docs" / "internal-api.json"
CALLS = schemathesis.openapi.from_dict(describe())
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_the_page_is_current() -> None:
    hint = "python -m control_plane.description > docs/internal-api.json"
    assert PAGE.read_text(encoding="utf-8") == rendered(), hint


async def test_it_has_every_route_and_no_other(control: Harness) -> None:
    routes = [r for r in control.routes if isinstance(r, Route)]
    served = {
        (method, route.path.replace(":path}", "}"))
        for route in routes
        if route.path.startswith("/internal/")
        for method in (route.methods or ())
        if method != "HEAD"
    }
    paths = describe()["paths"]
    described = {(method.upper(), path) for path, calls in paths.items() for method in calls}
    assert described == served


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[str]:
    """Where a control plane serves."""
    with tempfile.TemporaryDirectory(prefix="okome-fuzz-") as place:
        engine = HealthyEngine()
        control = ControlProcess(Path(place), engine.port)
        try:
            control.start()
            yield control.url
        finally:
            control.kill()
            engine.close()


@CALLS.parametrize()
@hypothesis.settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    derandomize=True,
)
def test_no_input_breaks_a_call(case: schemathesis.Case, fuzzed: str) -> None:
    key = ADMIN_KEY if case.path.startswith(ADMINS) else SERVICE_KEY
    if case.path == "/internal/v1/grants" and isinstance(case.body, dict):
        # Else hardly anything would come past the first check.
        case.body["credential"] = API_KEY
        if isinstance(case.body.get("request"), dict):
            case.body["request"]["model"] = MODEL
    if isinstance(case.path_parameters, dict) and "user" in case.path_parameters:
        case.path_parameters["user"] = "local"
    headers = {"Authorization": f"Bearer {key}"}
    case.call_and_validate(base_url=fuzzed, headers=headers, checks=CHECKS, timeout=30)

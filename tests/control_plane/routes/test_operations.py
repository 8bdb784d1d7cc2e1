"""Health, readiness and metrics over HTTP."""

from __future__ import annotations

from tests.control_plane.harness import API_KEY, SERVICE_KEY, Harness
from tests.support.eventually import eventually_async


async def test_alive_and_ready(control: Harness) -> None:
    assert (await control.client.get("/healthz")).json() == {"status": "ok"}
    assert (await control.client.get("/readyz")).json() == {"status": "ready"}


async def test_ready_for_grants_also_while_engines_are_down(control: Harness) -> None:
    await control.put_down("a.test", "b.test")
    assert (await control.client.get("/readyz")).status_code == 200


async def test_a_launcher_may_ask_for_the_engines_too(control: Harness) -> None:
    async def ready() -> bool:
        return (await control.client.get("/readyz?engines=up")).status_code == 200

    # Not before each of them has been probed.
    await eventually_async(ready)
    await control.put_down("b.test")
    answer = await control.client.get("/readyz?engines=up")
    assert (answer.status_code, answer.json()["code"]) == (503, "no_engine")


async def test_not_ready_without_the_store(control: Harness) -> None:
    await control.plane.database.close()
    answer = await control.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "control_plane_unavailable")
    assert (await control.client.get("/healthz")).status_code == 200


async def test_metrics_count_what_was_decided(control: Harness) -> None:
    await control.grant()
    await control.grant(model="none")
    await control.settle()
    await control.settle()
    await control.login()
    await control.login("ok_wrong")
    await control.put_down("b.test")
    text = (await control.client.get("/metrics")).text
    for line in (
        'okome_control_grants_total{code="ok"} 1.0',
        'okome_control_grants_total{code="unknown_model"} 1.0',
        'okome_control_settlements_total{first="true",outcome="completed"} 1.0',
        'okome_control_settlements_total{first="false",outcome="completed"} 1.0',
        'okome_control_tokens_total{kind="completion",model="small"} 5.0',
        'okome_control_logins_total{result="refused"} 1.0',
        "okome_control_leases_live 1.0",
        'okome_control_engine_up{engine="http://a.test:1/health"} 1.0',
        'okome_control_engine_up{engine="http://b.test:1/api/version"} 0.0',
        "okome_control_grant_seconds_count 2.0",
    ):
        assert line in text
    assert API_KEY not in text
    assert SERVICE_KEY not in text

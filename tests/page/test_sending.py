"""A question starts its answer once, whatever happens on the way."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from starlette.responses import Response

from tests.page.chat import Chat
from tests.support.scripted_wire import ScriptedWire, problem

pytestmark = pytest.mark.faults


async def complete(wire: ScriptedWire, chat: Chat) -> None:
    job = await wire.job()
    await job.say("fine")
    await job.complete()
    await chat.finished()
    await expect(chat.prose).to_have_text("fine")
    assert len(wire.jobs) == 1


async def test_a_lost_answer_is_asked_for_with_the_same_key(chat: Chat, wire: ScriptedWire) -> None:
    wire.lose_sends = 2
    await chat.ask("Once")
    await complete(wire, chat)
    sends = wire.of("/v1/jobs")
    assert len(sends) == 3
    assert len({seen.key for seen in sends}) == 1
    assert sends[0].body == sends[2].body
    session = sends[0].body.pop("session_id")
    assert len(session) == 36
    assert sends[0].body == {
        "model": "rice-small",
        "messages": [{"role": "user", "content": "Once"}],
    }


async def test_a_reload_in_mid_post_asks_with_the_same_key(chat: Chat, wire: ScriptedWire) -> None:
    wire.lose_sends = 1_000
    await chat.ask("Once")
    await wire.request("/v1/jobs")
    await chat.page.reload()
    await wire.request("/v1/jobs", 3)
    wire.lose_sends = 0
    await complete(wire, chat)
    assert len({seen.key for seen in wire.of("/v1/jobs")}) == 1


async def test_a_busy_server_is_waited_for(chat: Chat, wire: ScriptedWire) -> None:
    wire.sends.extend(
        [
            problem(503, "overloaded", {"Retry-After": "0"}),
            problem(429, "rate_limited", {"Retry-After": "0"}),
        ]
    )
    await chat.ask("Once")
    await complete(wire, chat)


@pytest.mark.parametrize(
    ("refusal", "retryable"),
    [
        (problem(503, "no_engine", {"Retry-After": "60"}), True),
        (problem(429, "quota_exceeded", {"Retry-After": "1"}), True),
        (problem(404, "unknown_model"), False),
        (problem(400, "context_too_long"), False),
        (Response("<h1>Bad gateway</h1>", 400), False),
    ],
    ids=["no engine", "quota", "unknown model", "too long", "no problem+json"],
)
async def test_a_refusal_is_shown_plainly(
    chat: Chat, wire: ScriptedWire, refusal: Response, retryable: bool
) -> None:
    wire.sends.append(refusal)
    await chat.ask("Once")
    alert = chat.answer.get_by_role("alert")
    code = (
        "http_400"
        if b"<h1>" in bytes(refusal.body)
        else bytes(refusal.body).split(b'"code":"')[1].split(b'"')[0].decode()
    )
    await expect(alert).to_contain_text(code)
    retry = alert.get_by_role("button", name="Retry")
    await expect(retry).to_have_count(1 if retryable else 0)
    if retryable:
        await retry.click()
        await complete(wire, chat)
        await expect(chat.answers).to_have_count(1)


async def test_stop_before_the_server_answered_starts_nothing_that_goes_on(
    chat: Chat, wire: ScriptedWire
) -> None:
    wire.lose_sends = 1
    await chat.page.context.set_offline(True)
    await chat.ask("Once")
    await expect(chat.connection).to_have_attribute("data-phase", "offline")
    await chat.stop.click()
    await chat.finished()
    await expect(chat.answer).to_contain_text("You stopped this answer.")
    assert wire.jobs == {}


async def test_stop_ends_with_the_logs_last_event(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("Long")
    job = await wire.job()
    await job.say("So far ", "and no further")
    await expect(chat.prose).to_contain_text("further")
    await chat.stop.click()
    await chat.finished()
    await expect(chat.answer).to_contain_text("You stopped this answer.")
    await expect(chat.prose).to_have_text("So far and no further")
    assert len(wire.of(f"/v1/jobs/{job.job_id}/cancel")) == 1
    await expect(chat.question).to_be_focused()


async def test_regenerate_takes_the_place_of_the_answer_with_a_new_key(
    chat: Chat, wire: ScriptedWire
) -> None:
    await chat.ask("Again")
    await complete(wire, chat)
    await chat.answer.get_by_role("button", name="Regenerate answer").click()
    job = await wire.job(2)
    await job.say("better")
    await job.complete()
    await expect(chat.prose).to_have_text("better")
    await expect(chat.answers).to_have_count(1)
    first, second = wire.of("/v1/jobs")
    assert first.key != second.key
    assert first.body == second.body
    assert len(await chat.stored()) == 1


async def test_the_conversation_so_far_is_sent(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("One")
    await complete(wire, chat)
    await chat.ask("Two")
    assert (await wire.request("/v1/jobs", 2)).body["messages"] == [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "fine"},
        {"role": "user", "content": "Two"},
    ]


async def test_a_failed_answer_does_not_break_the_turns(chat: Chat, wire: ScriptedWire) -> None:
    wire.sends.append(problem(404, "unknown_model"))
    await chat.ask("One")
    await expect(chat.answer.get_by_role("alert")).to_be_visible()
    await chat.ask("Two")
    assert (await wire.request("/v1/jobs", 2)).body["messages"] == [
        {"role": "user", "content": "One\n\nTwo"}
    ]


async def test_the_chosen_model_answers_and_is_remembered(chat: Chat, wire: ScriptedWire) -> None:
    await chat.page.get_by_role("combobox", name="Model").select_option("rice-large")
    await chat.page.reload()
    await chat.ready()
    await chat.ask("Who?")
    assert (await wire.request("/v1/jobs")).body["model"] == "rice-large"


async def test_a_jobs_own_error_is_shown_with_a_retry(chat: Chat, wire: ScriptedWire) -> None:
    await chat.ask("Once")
    job = await wire.job()
    await job.say("Half an")
    await job.append(
        "job_error",
        code="engine_stalled",
        message="The engine says nothing any more.",
        retryable=True,
        usage=None,
    )
    alert = chat.answer.get_by_role("alert")
    await expect(alert).to_contain_text("The engine says nothing any more.")
    await expect(alert).to_contain_text("engine_stalled")
    await alert.get_by_role("button", name="Retry").click()
    second = await wire.job(2)
    await second.say("Whole")
    await second.complete()
    await expect(chat.prose).to_have_text("Whole")

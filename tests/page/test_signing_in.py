"""Getting in by the launcher's link or by an API key, and out again."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.support.scripted_wire import ScriptedWire

pytestmark = pytest.mark.faults


async def test_the_launchers_link_signs_in_and_leaves_no_trace(
    new_chat: Any, wire: ScriptedWire
) -> None:
    wire.signed_in = False
    chat = await new_chat("/#enter=token-1")
    assert chat.page.url == wire.url + "/"
    assert (await wire.request("/auth/enter")).body == {"token": "token-1"}
    kept = await chat.page.evaluate(
        "() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert "token-1" not in kept


async def test_a_link_that_is_opened_in_an_open_tab(new_chat: Any, wire: ScriptedWire) -> None:
    wire.signed_in = False
    chat = await new_chat(ready=False)
    await expect(chat.page.get_by_role("heading", name="Sign in to OKOME")).to_be_visible()
    await chat.page.goto(wire.url + "/#enter=token-1")
    await chat.ready()
    await expect(chat.question).to_be_visible()
    assert chat.page.url == wire.url + "/"


async def test_a_link_signs_in_without_the_control_plane(new_chat: Any, wire: ScriptedWire) -> None:
    wire.signed_in = False
    wire.control_plane = False
    chat = await new_chat("/#enter=token-1")
    assert (await wire.request("/v1/enter")).body == {"token": "token-1"}
    await expect(chat.question).to_be_visible()


async def test_a_link_that_has_expired(new_chat: Any, wire: ScriptedWire) -> None:
    wire.signed_in = False
    chat = await new_chat("/#enter=old", ready=False)
    await expect(chat.page.get_by_role("alert")).to_contain_text("not valid any more")
    assert chat.page.url == wire.url + "/"


async def test_an_api_key_signs_in(new_chat: Any, wire: ScriptedWire) -> None:
    wire.signed_in = False
    chat = await new_chat(ready=False)
    field = chat.page.get_by_label("API key")
    await expect(field).to_be_focused()
    await field.fill("ok_wrong")
    await field.press("Enter")
    await expect(chat.page.get_by_role("alert")).to_contain_text("This key is not known")
    await field.fill(wire.api_key)
    await field.press("Enter")
    await chat.ready()
    await expect(chat.question).to_be_visible()
    kept = await chat.page.evaluate(
        "() => JSON.stringify([{...localStorage}, {...sessionStorage}])"
    )
    assert wire.api_key not in kept


async def test_the_control_plane_is_away(new_chat: Any, wire: ScriptedWire) -> None:
    wire.signed_in = False
    wire.control_plane = False
    chat = await new_chat(ready=False)
    field = chat.page.get_by_label("API key")
    await field.fill(wire.api_key)
    await field.press("Enter")
    await expect(chat.page.get_by_role("alert")).to_contain_text("the control plane is away")
    wire.control_plane = True
    await field.press("Enter")
    await chat.ready()


async def test_sign_out_can_take_the_conversations_along(new_chat: Any, wire: ScriptedWire) -> None:
    chat = await new_chat()
    await chat.ask("Secret")
    job = await wire.job()
    await job.complete()
    await chat.finished()
    await chat.page.get_by_role("button", name="Sign out").click()
    dialog = chat.page.get_by_role("dialog", name="Sign out?")
    await dialog.get_by_role("checkbox", name="remove all conversations").check()
    await dialog.get_by_role("button", name="Sign out").click()
    await expect(chat.page.get_by_role("heading", name="Sign in to OKOME")).to_be_visible()
    assert await chat.page.evaluate("() => Object.keys(localStorage)") == []


async def test_name_and_password_sign_in(new_chat: Any, wire: ScriptedWire) -> None:
    wire.signed_in = False
    chat = await new_chat(ready=False)
    page = chat.page
    await expect(page.get_by_label("Password", exact=True)).to_be_hidden()
    # By keyboard alone: from the key back to the choice, and on to the fields.
    await expect(page.get_by_label("API key")).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("radio", name="Name and password")).to_be_checked()
    await expect(page.get_by_label("API key")).to_be_hidden()
    await page.keyboard.press("Tab")
    await page.keyboard.type("rin")
    await page.keyboard.press("Tab")
    await page.keyboard.type("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    await expect(page.get_by_label("Password", exact=True)).to_be_focused()
    await page.keyboard.type("a good password")
    await page.keyboard.press("Enter")
    await chat.ready()
    assert wire.of("/auth/login")[-1].body == {"name": "rin", "password": "a good password"}
    kept = await page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert "a good password" not in kept
    # The way is remembered, what was typed is not.
    wire.signed_in = False
    await page.reload()
    await expect(page.get_by_label("Name", exact=True)).to_be_focused()
    await expect(page.get_by_label("Password", exact=True)).to_have_value("")


async def test_a_sign_in_that_ended_is_renewed_without_a_word(
    new_chat: Any, wire: ScriptedWire
) -> None:
    chat = await new_chat()
    wire.signed_in, wire.renewable = False, True
    await chat.ask("Go on")
    job = await wire.job()
    await wire.request("/v1/stream")
    await job.say("here")
    await job.complete()
    await chat.finished()
    await expect(chat.prose).to_have_text("here")
    assert len(wire.of("/auth/refresh")) == 1
    await expect(chat.question).to_be_visible()


async def test_a_renewal_that_does_not_help_is_not_repeated(
    new_chat: Any, wire: ScriptedWire
) -> None:
    chat = await new_chat()
    wire.signed_in = False
    await chat.ask("Go on")
    await expect(chat.page.get_by_label("API key")).to_be_focused()
    assert len(wire.of("/auth/refresh")) == 1


async def test_sign_out_everywhere(new_chat: Any, wire: ScriptedWire) -> None:
    chat = await new_chat()
    await chat.page.get_by_role("button", name="Sign out").click()
    dialog = chat.page.get_by_role("dialog", name="Sign out?")
    await dialog.get_by_role("checkbox", name="On all my devices").check()
    await dialog.get_by_role("button", name="Sign out").click()
    assert (await wire.request("/auth/logout")).body == {"everywhere": True}
    await expect(chat.page.get_by_role("heading", name="Sign in to OKOME")).to_be_visible()


async def test_somebody_else_sees_nothing_of_who_was_here(
    new_chat: Any, wire: ScriptedWire
) -> None:
    chat = await new_chat()
    await wire.request("/auth/session")
    await chat.ask("Secret")
    await (await wire.job()).complete()
    await chat.finished()
    wire.user = "ann"
    await chat.page.reload()
    await chat.ready()
    await wire.request("/auth/session", 2)
    await expect(chat.chats).to_have_count(0)
    kept = await chat.page.evaluate("() => JSON.stringify({...localStorage})")
    assert "Secret" not in kept


async def test_sign_out_while_the_control_plane_is_away(new_chat: Any, wire: ScriptedWire) -> None:
    wire.control_plane = False
    chat = await new_chat()
    await chat.page.get_by_role("button", name="Sign out").click()
    await chat.page.get_by_role("dialog").get_by_role("button", name="Sign out").click()
    await expect(chat.page.get_by_role("alert")).to_contain_text("You are still signed in")
    await expect(chat.question).to_be_visible()


async def test_a_session_that_ends_while_sending(new_chat: Any, wire: ScriptedWire) -> None:
    chat = await new_chat()
    wire.signed_in = False
    await chat.ask("Wait for me")
    await chat.page.get_by_label("API key").fill(wire.api_key)
    await chat.page.get_by_role("button", name="Sign in").click()
    job = await wire.job()
    await job.say("here")
    await job.complete()
    await chat.finished()
    await expect(chat.prose).to_have_text("here")
    assert len({seen.key for seen in wire.of("/v1/jobs")}) == 1


async def test_where_there_is_an_issuer_the_form_leads_to_it(
    new_chat: Any, wire: ScriptedWire
) -> None:
    wire.signed_in = False
    wire.oidc = "/auth/oidc/start"
    chat = await new_chat(ready=False)
    link = chat.page.get_by_role("link", name="OpenID Connect")
    await expect(link).to_have_attribute("href", "/auth/oidc/start")


async def test_without_an_issuer_the_form_leads_nowhere_else(
    new_chat: Any, wire: ScriptedWire
) -> None:
    wire.signed_in = False
    chat = await new_chat(ready=False)
    await wire.request("/auth/options")
    await expect(chat.page.get_by_label("API key")).to_be_focused()
    await expect(chat.page.get_by_role("link", name="OpenID Connect")).to_have_count(0)

"""A quota that is reached in the middle of an answer: for a program, and for a person."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.e2e.wire import MODEL, STORY, Reader, numbered, start
from tests.page.chat import Chat, open_chat
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="session")]

PASSWORD = "correct horse battery"


def add_user(cluster: Cluster, name: str, tokens: int) -> None:
    """Somebody with a password, who may use so many tokens a day."""
    subprocess.run(
        cluster.command("user", "add", name, "--stdin"),
        env=cluster.environment,
        input=PASSWORD,
        capture_output=True,
        text=True,
        check=True,
    )
    cluster.okome("quota", "set", "--user", name, "--tokens-day", str(tokens))


@pytest_asyncio.fixture(loop_scope="session")
async def person(browser: Browser, cluster: Cluster) -> AsyncIterator[Chat]:
    """The page before anybody has signed in."""
    chat = await open_chat(browser, cluster.local_url, Chat, ready=False)
    yield chat
    await chat.page.context.close()


async def sign_in(chat: Chat, name: str) -> None:
    page = chat.page
    await page.get_by_text("Name and password").click()
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await chat.ready()


async def token_of(http: httpx.AsyncClient, name: str) -> str:
    signed_in = await http.post("/auth/login", json={"name": name, "password": PASSWORD})
    http.cookies.clear()
    return str(signed_in.json()["token"])


async def test_who_asks_for_one_answer_after_another_is_never_over_its_slots(
    cluster: Cluster,
) -> None:
    add_user(cluster, "eve", 1_000_000)
    refused: list[str] = []

    async with httpx.AsyncClient(base_url=cluster.url, timeout=60, trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {await token_of(http, 'eve')}"
        body = {
            "model": MODEL,
            "max_tokens": 2,
            "stream": True,
            "messages": [{"role": "user", "content": "Count."}],
        }

        async def one_after_another() -> None:
            for _ in range(8):
                async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
                    text = (await answer.aread()).decode()
                if answer.status_code != 200:
                    refused.append(text)

        await asyncio.gather(*(one_after_another() for _ in range(5)))
    assert refused == []


async def test_the_last_tokens_are_a_shorter_answer_and_then_429(cluster: Cluster) -> None:
    add_user(cluster, "bea", 90)
    async with httpx.AsyncClient(base_url=cluster.url, timeout=60, trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {await token_of(http, 'bea')}"
        job_id = await start(http, cluster.url, 400)
        seen = await Reader(http, cluster.url, job_id).read()
        assert numbered(seen)
        assert (seen[0].event, seen[0].body["code"]) == ("notice", "limited")
        assert (seen[-1].event, seen[-1].body["reason"]) == ("job_cancelled", "quota")
        usage = seen[-1].body["usage"]
        assert 0 < usage["completion_tokens"] < 90

        job = {"model": MODEL, "prompt": STORY, "max_tokens": 400}
        refused = await http.post("/v1/jobs", json=job)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert int(refused.headers["retry-after"]) > 0
        assert "tokens" in refused.headers["ratelimit-policy"]
        assert "r=" in refused.headers["ratelimit"]


async def test_a_person_signs_in_and_is_told_of_the_quota(cluster: Cluster, person: Chat) -> None:
    add_user(cluster, "cyd", 140)
    await sign_in(person, "cyd")
    await person.ask(STORY)
    await person.finished(90)
    await expect(person.answer).to_contain_text("quota")
    await person.ask(STORY)
    await expect(person.answers).to_have_count(2)
    await expect(person.answer).to_contain_text("used up", timeout=30_000)
    assert any("429" in line for line in person.complaints)


async def test_a_sign_in_is_renewed_without_a_word(cluster: Cluster, person: Chat) -> None:
    add_user(cluster, "dan", 100_000)
    await sign_in(person, "dan")
    context = person.page.context
    await context.clear_cookies(name="okome_session")  # as when its hour is over
    async with person.page.expect_response("**/auth/refresh") as renewal:
        await person.ask("What is rice?")
    assert (await renewal.value).status == 200
    await person.finished(90)
    assert (await person.prose.inner_text()).strip()
    assert {"okome_session", "okome_login"} <= {
        cookie["name"] for cookie in await context.cookies()
    }

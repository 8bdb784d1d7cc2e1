"""A person chats: Chromium, the ingress, the brokers, the control plane and the real engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, expect

from tests.page.chat import Chat, open_chat
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="session")]
LONG = "Tell me a long story about a farmer and her rice field."
ANSWER_S = 90


class Visitor(Chat):
    """A page on the real cluster, and the requests that it made."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self.posts: list[Request] = []
        page.on("request", lambda request: self._note(request))

    def _note(self, request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/v1/jobs"):
            self.posts.append(request)

    async def text_reaches(self, length: int) -> None:
        """Waits until the answer has at least so many events."""
        script = "(least) => Number(document.getElementById('connection').dataset.cursor) >= least"
        handle = await self.page.wait_for_function(script, arg=length, timeout=60_000)
        await handle.dispose()

    async def answer_record(self) -> dict[str, Any]:
        """What the server says of the last answer's job."""
        job_id = (await self.stored())[-1]["jobId"]
        script = "(id) => fetch(`/v1/jobs/${id}`).then((response) => response.json())"
        record: dict[str, Any] = await self.page.evaluate(script, job_id)
        return record

    async def saw_all(self) -> None:
        """The text is the server's, letter by letter, and the question was asked once."""
        await self.finished(ANSWER_S)
        stored, record = (await self.stored())[-1], await self.answer_record()
        assert record["status"] == "completed"
        assert stored["text"] == record["text"]
        assert stored["cursor"] == record["last_seq"]
        assert len(self.posts) == 1


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser, cluster: Cluster) -> AsyncIterator[Visitor]:
    visitor = await open_chat(browser, cluster.enter_url, Visitor)
    yield visitor
    await visitor.page.context.close()
    assert [line for line in visitor.complaints if "ERR_INTERNET_DISCONNECTED" not in line] == []


async def test_a_real_answer_streams_with_its_figures(visitor: Visitor) -> None:
    await visitor.ask("What is rice?")
    await visitor.text_reaches(3)
    await expect(visitor.answer).to_have_attribute("aria-busy", "true")
    await visitor.saw_all()
    facts = visitor.answer.locator(".facts")
    await expect(facts).to_contain_text("first token")
    await expect(facts).to_contain_text("tokens/s")
    assert (await visitor.prose.inner_text()).strip()
    assert (await visitor.stored())[-1]["stats"]["metrics"]["tokens_per_second"] > 0


async def test_a_reload_in_mid_answer(visitor: Visitor) -> None:
    await visitor.ask(LONG)
    await visitor.text_reaches(5)
    await visitor.page.reload()
    await expect(visitor.answer).to_be_visible()
    await visitor.saw_all()


async def test_offline_and_back(visitor: Visitor) -> None:
    await visitor.ask(LONG)
    await visitor.text_reaches(5)
    await visitor.page.context.set_offline(True)
    await visitor.page.evaluate("() => dispatchEvent(new Event('offline'))")
    await visitor.page.context.set_offline(False)
    await visitor.saw_all()


async def test_a_question_that_is_asked_offline_is_answered_later(visitor: Visitor) -> None:
    await visitor.page.context.set_offline(True)
    await visitor.ask("What is rice?")
    await expect(visitor.connection).to_have_attribute("data-phase", "offline")
    await visitor.page.context.set_offline(False)
    await visitor.finished(ANSWER_S)
    assert len({request.headers["idempotency-key"] for request in visitor.posts}) == 1
    assert (await visitor.answer_record())["status"] == "completed"


async def test_stop(visitor: Visitor) -> None:
    await visitor.ask(LONG)
    await visitor.text_reaches(5)
    await visitor.page.keyboard.press("Escape")
    await visitor.finished()
    await expect(visitor.answer).to_contain_text("You stopped this answer.")
    stored, record = (await visitor.stored())[-1], await visitor.answer_record()
    assert record["status"] == "cancelled"
    assert stored["text"] == record["text"]


async def test_a_conversation_goes_on_on_another_device(
    visitor: Visitor, browser: Browser, cluster: Cluster
) -> None:
    await visitor.ask("What is rice vinegar?")
    await visitor.saw_all()
    said = (await visitor.stored())[-1]["text"]
    other = await open_chat(browser, cluster.enter_url, Visitor)
    try:
        there = other.chats.get_by_role("button", name="What is rice vinegar?", exact=True)
        await there.first.click(timeout=30_000)
        await other.finished()
        stored = (await other.stored())[-1]
        assert (stored["text"], stored["status"]) == (said, "completed")
        await other.ask("And soy sauce?")
        await other.finished(ANSWER_S)
        sent = other.posts[-1].post_data_json
        assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
        assert sent["session_id"] == visitor.posts[-1].post_data_json["session_id"]
        assert other.complaints == []
    finally:
        await other.page.context.close()

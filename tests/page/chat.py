"""The page as a person meets it: by roles and names, hardly ever by selectors."""

from __future__ import annotations

from typing import Any, TypeVar

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, expect

C = TypeVar("C", bound="Chat")


class Chat:
    """One open page and what its console complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    @property
    def question(self) -> Locator:
        return self.page.get_by_role("textbox", name="Question")

    @property
    def send(self) -> Locator:
        return self.page.get_by_role("button", name="Send", exact=True)

    @property
    def stop(self) -> Locator:
        return self.page.get_by_role("button", name="Stop", exact=True)

    @property
    def answers(self) -> Locator:
        return self.page.get_by_role("article", name="Answer from")

    @property
    def answer(self) -> Locator:
        """The last answer."""
        return self.answers.last

    @property
    def prose(self) -> Locator:
        return self.answer.locator(".prose")

    @property
    def connection(self) -> Locator:
        return self.page.locator("#connection")

    @property
    def chats(self) -> Locator:
        return self.page.get_by_role("navigation", name="Conversations").locator("li")

    async def ask(self, text: str) -> None:
        await self.question.fill(text)
        await self.question.press("Enter")

    async def finished(self, within_s: float = 15) -> None:
        """Waits for the end of the last answer."""
        await expect(self.answer).to_have_attribute("aria-busy", "false", timeout=within_s * 1000)

    async def ready(self) -> None:
        await expect(self.page.get_by_role("combobox", name="Model")).to_be_enabled()

    async def stored(self) -> list[dict[str, Any]]:
        """All stored answers."""
        script = """() => Object.keys(localStorage)
            .filter((key) => key.startsWith("okome.message."))
            .map((key) => JSON.parse(localStorage[key]))
            .filter((message) => message.role === "assistant")"""
        found: list[dict[str, Any]] = await self.page.evaluate(script)
        return found


async def open_chat(
    browser: Browser, url: str, kind: type[C], *, ready: bool = True, **options: Any
) -> C:
    """Opens `url` in a new context; `options` are Playwright's for the context."""
    context = await browser.new_context(**options)
    chat = kind(await context.new_page())
    await chat.page.goto(url)
    if ready:
        await chat.ready()
    return chat

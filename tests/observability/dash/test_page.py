"""The page in a real browser, before a scripted Prometheus that behaves, refuses, or is away."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from observability.boards import slo
from observability.dash import prometheus as client
from tests.observability.dash.serving import ScriptedPrometheus, alert, dash
from tests.page.test_looks import FAINT

pytestmark = pytest.mark.asyncio(loop_scope="session")
WIDER = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest_asyncio.fixture(loop_scope="session")
async def script() -> AsyncIterator[ScriptedPrometheus]:
    made = ScriptedPrometheus()
    yield made
    made.release.set()


@contextlib.asynccontextmanager
async def opened(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """The page with its figures; whatever the console complains of fails the test."""
    context = await browser.new_context(**options)
    page, complaints = await context.new_page(), list[str]()
    page.on("console", lambda line: complaints.append(line.text))
    page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
    await page.goto(url)
    yield page
    await context.close()
    assert complaints == []


async def picture(url: str, minutes: str = "15") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(f"{url}/api/picture", params={"minutes": minutes})


async def test_every_panel_of_the_overview_is_there(
    browser: Browser, script: ScriptedPrometheus
) -> None:
    async with dash(script) as url, opened(browser, url) as page:
        for panel in slo.BOARD.panels():
            await expect(page.get_by_role("figure", name=panel.title, exact=True)).to_be_visible()
        await expect(page.get_by_role("status")).to_have_text(re.compile("Tokens come unevenly"))
        await expect(page.get_by_role("heading", level=1)).to_have_text("OKOME · rice")
        # Names from outside are text.
        await expect(page.get_by_text("<img src=x>").first).to_be_visible()
        assert await page.locator("img").count() == 0
    assert all(asked["step"] == "8" for asked in script.asked)


async def test_a_chart_is_read_with_the_keyboard(
    browser: Browser, script: ScriptedPrometheus
) -> None:
    async with dash(script) as url, opened(browser, url) as page:
        chart = page.get_by_role("img", name=re.compile("Where does the wait")).first
        await chart.focus()
        await chart.press("Home")
        told = page.get_by_role("figure", name=re.compile("Where does the wait")).locator(
            "[aria-live]"
        )
        await expect(told).to_have_text(re.compile(r"^At .*engine: first token 200 ms"))
        await chart.press("ArrowRight")
        await expect(told).to_have_text(re.compile("engine: first token –"))
        await chart.press("Escape")
        await expect(told).to_have_text("")


async def test_alerts_that_fire_are_listed(browser: Browser, script: ScriptedPrometheus) -> None:
    script.firing = [alert("TooSlow", "ticket"), alert("NobodyThere", "page")]
    script.firing[0]["annotations"]["runbook_url"] = "javascript:alert(1)"
    async with dash(script) as url, opened(browser, url) as page:
        lines = page.get_by_role("region", name="Alerts that fire").get_by_role("listitem")
        await expect(lines).to_have_count(2)
        await expect(lines.first).to_contain_text("page · NobodyThere")
        await expect(lines.first).to_contain_text("node okome-node-04")
        assert await lines.get_by_role("link").count() == 0


async def test_another_span_is_asked_for(browser: Browser, script: ScriptedPrometheus) -> None:
    async with dash(script) as url, opened(browser, url) as page:
        await expect(page.get_by_role("figure").first).to_be_visible()
        async with page.expect_response(re.compile("minutes=1440")) as answer:
            await page.get_by_label("Last").select_option("1440")
        assert (await (await answer.value).json())["step"] == 720
        await page.get_by_role("button", name="Pause").press("Enter")
        paused = page.get_by_role("button", name="Pause")
        await expect(paused).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
async def test_it_is_readable_on_every_screen(
    browser: Browser, script: ScriptedPrometheus, scheme: str, width: int
) -> None:
    script.firing = [alert("TooSlow", "ticket"), alert("NobodyThere", "page")]
    view = {"width": width, "height": 800}
    async with (
        dash(script) as url,
        opened(browser, url, color_scheme=scheme, viewport=view) as page,
    ):
        await expect(page.get_by_role("figure").first).to_be_visible()
        assert await page.evaluate(FAINT) == []
        assert not await page.evaluate(WIDER)


async def test_an_alert_leads_to_its_section_of_the_runbook(
    browser: Browser, script: ScriptedPrometheus
) -> None:
    async with dash(script) as url:
        script.firing = [alert("OkomeLogSlow", "ticket")]
        notes = script.firing[0]["annotations"]
        notes["runbook_url"] = f"{url}/runbook#okomelogslow"
        async with opened(browser, url) as page:
            await page.get_by_role("link", name="what to do").click()
            heading = page.get_by_role("heading", name="OkomeLogSlow", exact=True)
            await expect(heading).to_be_in_viewport()
            assert await page.evaluate(FAINT) == []
            await page.set_viewport_size({"width": 320, "height": 800})
            assert not await page.evaluate(WIDER)
            await page.get_by_role("link", name="To the figures").click()
            await expect(page.get_by_role("status")).to_be_visible()


async def test_a_prometheus_that_is_away_is_told(browser: Browser) -> None:
    async with dash(away=True) as url, opened(browser, url) as page:
        told = page.get_by_role("status")
        await expect(told).to_have_text(re.compile("Prometheus is away: .* refuses connections"))
        await expect(told).to_have_text(re.compile("okome top"))


async def test_the_other_one_of_the_pair_is_asked(script: ScriptedPrometheus) -> None:
    async with dash(script, away=True) as url:
        answer = (await picture(url)).json()
    assert answer["away"] is None
    assert answer["rows"][0]["panels"][0]["series"]


async def test_one_that_does_not_answer_is_not_waited_for(
    script: ScriptedPrometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT_S", 0.2)
    script.mode = "mute"
    async with dash(script) as url:
        answer = (await picture(url)).json()
    assert "did not answer within 0.2 s" in answer["away"]


@pytest.mark.parametrize(
    ("mode", "place", "words"),
    [("strange", "away", "and not as Prometheus"), ("refusing", "fault", "no <b>such</b> thing")],
)
async def test_what_it_says_instead_is_passed_on(
    script: ScriptedPrometheus, mode: str, place: str, words: str
) -> None:
    script.mode = mode
    async with dash(script) as url:
        answer = (await picture(url)).json()
    told = answer["away"] if place == "away" else answer["rows"][0]["panels"][0]["fault"]
    assert words in told


async def test_many_who_look_are_one_question(script: ScriptedPrometheus) -> None:
    async with dash(script) as url:
        await picture(url)
        once = len(script.asked)
        for _ in range(3):
            assert (await picture(url)).status_code == 200
    assert len(script.asked) == once


@pytest.mark.parametrize("minutes", ["0", "7", "-1", "NaN", "15;drop", "99999999999999"])
async def test_no_other_span_is_asked_of_prometheus(
    script: ScriptedPrometheus, minutes: str
) -> None:
    async with dash(script) as url:
        answer = await picture(url, minutes)
    assert answer.status_code == 400
    assert answer.json()["field"] == "minutes"
    assert script.asked == []

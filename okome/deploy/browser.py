"""A person chats through the VIP: a real Chromium signs in, asks, and gets all of the answer."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from okome.errors import OkomeError

if TYPE_CHECKING:
    from playwright.sync_api import Page

_READY_MS = 30_000
_ANSWER_MS = 120_000
_QUESTION = "Name three colours."
_STORED = """() => Object.keys(localStorage)
    .filter((key) => key.startsWith("okome.message."))
    .map((key) => JSON.parse(localStorage[key]))
    .filter((message) => message.role === "assistant")"""
_RECORD = "(id) => fetch(`/v1/jobs/${id}`).then((response) => response.json())"


def lacking() -> str | None:
    """What of this machine keeps a browser from being driven; None when nothing does."""
    if importlib.util.find_spec("playwright") is None:
        return "the package playwright (scripts/install --test)"
    if _chromium() is None:
        return "the distribution's chromium"
    return None


def chat(url: str, token: str, certificate: bytes, ready_ms: float = _READY_MS) -> str:
    """Signs in at `url` by `token`, asks and waits for the end. `certificate` (PEM) is the only
    one that is believed; `ready_ms`: within which the page is there, milliseconds. Returns what
    was seen; raises OkomeError for anything amiss."""
    from playwright.sync_api import Error

    complaints: list[str] = []
    try:
        with _page(certificate) as page:
            page.on("console", lambda said: _note(complaints, said.type, said.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.set_default_timeout(ready_ms)
            page.goto(f"{url}/#enter={token}")
            seen = _conversation(page)
    except Error as error:
        reason = str(error).splitlines()[0]
        raise OkomeError(f"the chat in a browser: {reason} ({'; '.join(complaints)})") from error
    if complaints:
        raise OkomeError(f"the chat in a browser: its console says {'; '.join(complaints)}")
    return seen


def _conversation(page: Page) -> str:
    # The models are there, so somebody is signed in.
    page.wait_for_function("() => document.querySelector('select')?.disabled === false")
    question = page.get_by_role("textbox", name="Question")
    question.fill(_QUESTION)
    question.press("Enter")
    answer = page.get_by_role("article", name="Answer from").last
    answer.wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('article[aria-busy]')]"
        ".every((each) => each.getAttribute('aria-busy') === 'false')",
        timeout=_ANSWER_MS,
    )
    stored: dict[str, Any] = page.evaluate(_STORED)[-1]
    record: dict[str, Any] = page.evaluate(_RECORD, stored["jobId"])
    if record.get("status") != "completed" or record.get("text") != stored["text"]:
        raise OkomeError(f"the chat in a browser: the page has other text than job {record}")
    return f"{len(stored['text'])} characters in {record['last_seq']} events, as recorded"


@contextmanager
def _page(certificate: bytes) -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_chromium(),
            args=[
                *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update"),
                # All that it takes instead of an authority of the system's.
                f"--ignore-certificate-errors-spki-list={_pin(certificate)}",
            ],
        )
        try:
            yield browser.new_page()
        finally:
            browser.close()


def _pin(certificate: bytes) -> str:
    key = x509.load_pem_x509_certificate(certificate).public_key()
    told = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(told).digest()).decode()


def _note(complaints: list[str], kind: str, text: str) -> None:
    if kind == "error":
        complaints.append(text)


def _chromium() -> str | None:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    return str(Path(found)) if found else None

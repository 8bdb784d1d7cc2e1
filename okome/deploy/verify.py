"""Does a deployed cluster do what it is for? Asked as a client asks, through its VIP."""

from __future__ import annotations

import importlib.util
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from inventory.model import Cluster
from okome.credentials import read_api_key
from okome.deploy import browser as chromium
from okome.errors import OkomeError

_TIMEOUT_S = 30.0
_WORDS = "Name the colours of the rainbow."
_QUESTION = {"messages": [{"role": "user", "content": _WORDS}]}
_TOKENS = 24
# Prometheus asks every 15 s.
_SCRAPED_S = 60.0
_PAUSE_S = 1.0
Browser = Literal["auto", "yes", "no"]


@dataclass(frozen=True, slots=True)
class Site:
    """How the cluster is reached: `http` goes to the VIP and believes its authority."""

    cluster: Cluster
    http: httpx.Client
    key: str
    secrets: Path
    browser: Browser = "auto"

    @property
    def model(self) -> str:
        """One that it serves and that one can chat with."""
        every = [each for node in self.cluster.role("core_gpu") for each in node.engines]
        return next((each for each in every if each.kind != "tf_serving"), every[0]).model


def verify(
    cluster: Cluster, secrets: Path, report: Callable[[str], None], browser: Browser = "auto"
) -> None:
    """Runs every check. `browser`: whether a person's chat is one of them, by default where
    this machine has what it takes. Raises OkomeError naming the first check that fails."""
    key = read_api_key(secrets / "credentials")
    context = ssl.create_default_context(cafile=str(secrets / "authority/certificate.pem"))
    with httpx.Client(
        base_url=cluster.url,
        verify=context,
        headers={"Authorization": f"Bearer {key}"},
        timeout=_TIMEOUT_S,
        trust_env=False,
    ) as http:
        site = Site(cluster, http, key, secrets, browser)
        for check in CHECKS:
            try:
                said = check(site)
            except httpx.HTTPError as error:
                raise OkomeError(f"{_title(check)}: {type(error).__name__}: {error}") from error
            report(f"{_title(check)}: {said}")


def page(site: Site) -> str:
    """the chat page loads"""
    answer = site.http.get("/", headers={"Authorization": ""})
    _expect("the chat page", answer, 200)
    if "<html" not in answer.text:
        raise OkomeError("the chat page: what is at / is no page")
    return f"{len(answer.content)} bytes"


def hidden(site: Site) -> str:
    """what is internal cannot be reached"""
    paths = ("/metrics", "/internal/v1/policy", "/%69nternal/v1/policy", "//metrics")
    for path in paths:
        # Whole, because httpx would take the name of a host out of `//metrics`.
        _expect(path, site.http.get(f"{site.cluster.url}{path}"), 404)
    return f"{len(paths)} paths are 404"


def redirect(site: Site) -> str:
    """plain HTTP leads to TLS"""
    port = site.cluster.redirect_port
    if port is None:
        return "not asked for"
    url = f"http://{site.cluster.vip}:{port}/"
    _expect(url, site.http.get(url, headers={"Authorization": ""}), 308)
    return "308"


def completion(site: Site) -> str:
    """a chat completion streams to its end"""
    body = {**_QUESTION, "model": site.model, "max_tokens": _TOKENS, "stream": True}
    with site.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        _expect("/v1/chat/completions", answer, 200)
        lines = [line for line in answer.iter_lines() if line.startswith("data:")]
        node = answer.headers.get("X-Okome-Node", "?")
    if not lines or lines[-1] != "data: [DONE]":
        raise OkomeError(f"a chat completion: it ended without [DONE] after {len(lines)} chunks")
    return f"{len(lines)} chunks from {node}"


def resumption(site: Site) -> str:
    """a stream goes on at another broker, with the same bytes"""
    body = {**_QUESTION, "model": site.model, "max_tokens": _TOKENS}
    made = site.http.post("/v1/jobs", json=body)
    _expect("/v1/jobs", made, 202)
    job = made.json()["job_id"]
    whole = list(_events(site, f"/v1/stream?job_id={job}"))
    half = len(whole) // 2
    home = int(job[1:3])
    (other, *_) = (node for node in site.cluster.role("stream") if node.number != home)
    url = f"http://{other.address}:{other.port}/v1/stream?job_id={job}"
    rest = list(_events(site, url, cursor=half))
    if rest != whole[half:] or "job_complete" not in whole[-1]:
        raise OkomeError(f"a stream that goes on at {other.name} differs from the one before")
    return f"{len(rest)} of {len(whole)} events again from {other.name}"


def client(site: Site) -> str:
    """OpenAI's own client streams an answer"""
    if importlib.util.find_spec("openai") is None:
        return "not looked at: this machine has no package openai"
    import httpx2
    import openai

    context = ssl.create_default_context(cafile=str(site.secrets / "authority/certificate.pem"))
    with (
        httpx2.Client(verify=context, timeout=_TIMEOUT_S, trust_env=False) as http,
        openai.OpenAI(api_key=site.key, base_url=f"{site.cluster.url}/v1", http_client=http) as ai,
    ):
        try:
            chunks = ai.chat.completions.create(
                model=site.model,
                messages=[{"role": "user", "content": _WORDS}],
                max_tokens=_TOKENS,
                stream=True,
            )
            pieces = [_piece(chunk.choices[0].delta) for chunk in chunks if chunk.choices]
        except openai.OpenAIError as error:
            raise OkomeError(f"OpenAI's own client: {error}") from error
    text = "".join(pieces)
    if not text:
        raise OkomeError("OpenAI's own client: the answer is empty")
    return f"{len(text)} characters"


def metrics(site: Site) -> str:
    """brokers and ingress tell their figures"""
    cluster, told = site.cluster, 0
    wanted = [(f"http://{n.address}:{n.port + w}/metrics", "okome_broker_")
              for n in cluster.brokers() for w in range(n.workers)]  # fmt: skip
    wanted += [(f"http://{node.address}:{cluster.stats_port}/metrics", "haproxy_")
               for node in cluster.role("ingress")]  # fmt: skip
    for url, prefix in wanted:
        answer = site.http.get(url, headers={"Authorization": ""})
        _expect(url, answer, 200)
        found = sum(line.startswith(prefix) for line in answer.text.splitlines())
        if not found:
            raise OkomeError(f"{url}: has nothing that begins with {prefix}")
        told += found
    return f"{told} series from {len(wanted)} processes"


def watched(site: Site) -> str:
    """those who look on see everybody"""
    nodes = site.cluster.role("observability")
    seen = 0
    for node in nodes:
        url = f"http://{node.address}:{node.port}"
        # What was started just now is asked within a quarter of a minute.
        deadline = time.monotonic() + _SCRAPED_S
        while (found := _unseen(site, url)) is None or found[1]:
            if time.monotonic() > deadline:
                reason = "asks nobody" if found is None else f"gets no answer of {found[1]}"
                raise OkomeError(f"Prometheus of {node.name} ({url}) {reason}")
            time.sleep(_PAUSE_S)
        seen += found[0]
    return f"{seen} of {seen} targets of {len(nodes)} Prometheus answer"


def _unseen(site: Site, url: str) -> tuple[int, str] | None:
    """How many targets a Prometheus has, and those that do not answer, named; None without any.
    Engines may have no metrics."""
    asked = {"query": 'up{job!~"engine|gpu"}'}
    answer = site.http.get(f"{url}/api/v1/query", params=asked, headers={"Authorization": ""})
    _expect(url, answer, 200)
    series = answer.json()["data"]["result"]
    silent = sorted(f"{one['metric']['job']} of {one['metric'].get('node', '?')}"
                    for one in series if one["value"][1] != "1")  # fmt: skip
    return (len(series), ", ".join(silent)) if series else None


def person(site: Site) -> str:
    """a person chats in a browser"""
    if site.browser == "no":
        return "not asked for"
    if (reason := chromium.lacking()) is not None:
        if site.browser == "yes":
            raise OkomeError(f"a person chats in a browser: this machine lacks {reason}")
        return f"not looked at: this machine lacks {reason}"
    answer = site.http.post("/auth/token")
    _expect("/auth/token", answer, 200)
    try:
        certificate = (site.secrets / "ingress/vip.pem").read_bytes()
        return chromium.chat(site.cluster.url, answer.json()["token"], certificate)
    except (OSError, ValueError) as error:
        raise OkomeError(f"ingress/vip.pem cannot be used: {error}") from error


CHECKS: tuple[Callable[[Site], str], ...] = (
    page, hidden, redirect, completion, resumption, client, metrics, watched, person,
)  # fmt: skip


def _events(site: Site, url: str, cursor: int = 0) -> Iterator[str]:
    headers = {"Last-Event-ID": str(cursor), "Accept": "text/event-stream"}
    with site.http.stream("GET", url, headers=headers) as answer:
        _expect(url, answer, 200)
        block: list[str] = []
        for line in answer.iter_lines():
            if line.startswith((":", "retry:")):
                continue
            if line:
                block.append(line)
            elif block:
                yield "\n".join(block)
                block = []


def _expect(what: str, answer: httpx.Response, status: int) -> None:
    if answer.status_code != status:
        raise OkomeError(f"{what}: answer {answer.status_code}, expected {status}")


def _piece(delta: Any) -> str:
    """Of an answer's text, or of the thinking with which some models begin it."""
    return delta.content or getattr(delta, "reasoning_content", None) or ""


def _title(check: Callable[[Site], str]) -> str:
    return check.__doc__ or ""

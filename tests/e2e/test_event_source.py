"""A browser's own `EventSource`, with the session cookie, against the running cluster."""

from __future__ import annotations

import os
import signal

import pytest
from playwright.async_api import Browser

from tests.support.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="session")]

READ = """async ([key]) => {
  const made = await fetch('/v1/jobs', {
    method: 'POST',
    headers: {'Content-Type': 'application/json', 'Idempotency-Key': key},
    body: JSON.stringify({model: 'smollm2:135m', max_tokens: 150,
                          prompt: 'Write a very long story about a fox.'}),
  });
  const job = await made.json();
  window.seen = [];
  window.opens = 0;
  window.job = job.job_id;
  window.ended = new Promise(resolve => {
    const source = new EventSource(job.stream_url);
    window.source = source;
    source.onopen = () => { window.opens += 1; };
    for (const name of ['token', 'notice', 'job_complete', 'job_error', 'job_cancelled'])
      source.addEventListener(name, event => window.seen.push([event.lastEventId, name]));
    // Left open on purpose: after the terminal event it reconnects, and 204 must stop it.
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) resolve(); };
  });
  return job.job_id;
}"""


async def test_an_event_source_survives_its_broker_and_stops_by_itself(
    cluster: Cluster, browser: Browser
) -> None:
    context = await browser.new_context()
    try:
        page = await context.new_page()
        await page.goto(cluster.enter_url)
        await page.wait_for_function("() => location.hash === ''")
        job_id = await page.evaluate(READ, ["event-source-1"])
        await page.wait_for_function("() => window.seen.length > 5")
        os.kill(cluster.node(f"okome-node-{job_id[1:3]}")["pid"], signal.SIGKILL)
        await page.evaluate("() => window.ended")
        seen = await page.evaluate("() => window.seen")
        opens = await page.evaluate("() => window.opens")
    finally:
        await context.close()

    assert [number for number, _ in seen] == [str(n) for n in range(1, len(seen) + 1)]
    assert seen[-1][1] == "job_complete"
    assert opens >= 2

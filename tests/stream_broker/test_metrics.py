"""However many models and engines there are: what a scrape brings stays within its bound."""

from __future__ import annotations

from contracts.codes import CANCEL_REASONS, HTTP_CODES, JOB_ERRORS
from stream_broker.metrics import BrokerMetrics

# `sample_limit` of brokers in observability/scraping.py: beyond it an answer is dropped whole.
SAMPLE_LIMIT = 5000
MANY = 500
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "cached_tokens": 5}


def test_a_scrape_is_bounded_whatever_comes() -> None:
    metrics = BrokerMetrics()
    for number in range(MANY):
        model, engine = f"m{number}", f"http://e{number}"
        metrics.hearing(engine, model, "job").asked(1.0)
        metrics.delivery("job", model, None, lambda: 0.0)
        body = {"finish_reason": "stop", "usage": USAGE, "metrics": {"ttft_ms": 10.0}}
        metrics.job_ended("job_complete", "job", model, body, "job")
    for code in (*HTTP_CODES, "accepted", "replayed", "left"):
        metrics.was_accepted(code, 0.1)
        metrics.was_granted(code, 0.1)
        metrics.requests_refused.labels(code).inc()
        metrics.client_reports.labels(code).inc()
        for relay in ("here", "elsewhere", "over"):
            metrics.resumed(relay, code)
    for code in JOB_ERRORS:
        metrics.job_ended("job_error", "job", "m0", {"code": code, "usage": USAGE})
    for reason in CANCEL_REASONS:
        metrics.job_ended("job_cancelled", "job", "m0", {"reason": reason, "usage": USAGE})
    text = metrics.render()[0].decode()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(samples) < SAMPLE_LIMIT
    assert f"m{MANY - 1}" not in text


def test_a_job_is_counted_with_its_tokens_and_what_the_prefix_cache_had() -> None:
    metrics = BrokerMetrics(lambda name: {"alias": "small"}.get(name, "other"))
    body = {"finish_reason": "stop", "usage": USAGE, "metrics": {"ttft_ms": 250.0}}
    metrics.job_ended("job_complete", "chat", "alias", body, "job-1")
    metrics.job_ended("job_complete", "chat", "made up", body, "job-2")
    text, media = metrics.render("application/openmetrics-text;version=1.0.0")
    lines = text.decode().splitlines()
    assert media.startswith("application/openmetrics-text")
    assert 'okome_broker_tokens_total{direction="cached",model="small"} 5.0' in lines
    assert 'okome_broker_tokens_total{direction="prompt",model="other"} 7.0' in lines
    marked = [line for line in lines if 'job_id="job-1"' in line]
    assert len(marked) == 1
    assert marked[0].startswith("okome_broker_time_to_first_token_seconds_bucket")

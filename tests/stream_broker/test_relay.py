from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codes import JOB_ERRORS
from contracts.grants import Usage
from stream_broker.engines.deltas import Delta, Failure, Finish, Reasoning, Text, ToolCall
from stream_broker.events import Event
from stream_broker.relay import Relay
from tests.stream_broker.building import JOB, NOW

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
pieces: st.SearchStrategy[Delta] = st.one_of(
    st.builds(Text, texts), st.builds(Reasoning, texts), st.builds(ToolCall, texts, texts, texts)
)
ends: st.SearchStrategy[Delta] = st.one_of(
    st.builds(Finish, st.just("stop")),
    st.builds(Failure, st.sampled_from(sorted(JOB_ERRORS)), texts),
)
deltas: st.SearchStrategy[Delta] = st.one_of(pieces, pieces, pieces, ends)
times = st.floats(NOW - 5, NOW + 5)
Turns = list[tuple[list[Delta], float]]
turns = st.lists(st.tuples(st.lists(deltas, max_size=4), times), max_size=12)


def relay(log_max: int = 1 << 20, quota_limit: int | None = None) -> Relay:
    return Relay(JOB, NOW, log_max=log_max, prompt_estimate=7, quota_limit=quota_limit)


def run(subject: Relay, said: Turns) -> list[Event]:
    return [event for what, now in said for event in subject.take(what, now)]


def finished(subject: Relay, usage: Usage | None) -> dict[str, Any]:
    (event,) = subject.take([Finish("stop", usage)], NOW + 1)
    return event.body()


def test_what_the_engine_says_becomes_numbered_events() -> None:
    said: list[Delta] = [
        Reasoning("hm"),
        Text("a"),
        ToolCall("c1", "f", "{}"),
        Finish("tool_calls"),
    ]
    events = relay().take(said, NOW + 1)
    assert [(e.seq, e.name) for e in events] == [
        (1, "reasoning"),
        (2, "token"),
        (3, "tool_call"),
        (4, "job_complete"),
    ]
    assert events[2].body() | {"index": 0} == events[2].body()


@given(turns)
def test_numbers_have_no_gaps_and_the_end_is_the_last(said: Turns) -> None:
    subject = relay()
    events = run(subject, said) + subject.cancel("client")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True]
    assert subject.last_seq == len(events)
    assert subject.state != "open"


@given(turns)
def test_times_never_decrease_even_if_the_clock_does(said: Turns) -> None:
    stamps = [event.body()["ts"] for event in run(relay(), said) if b'"ts"' in event.data]
    assert stamps == sorted(stamps)
    assert all(stamp >= NOW for stamp in stamps)


@given(turns, st.integers(0, 40))
def test_a_log_taken_in_goes_on_as_if_uninterrupted(said: Turns, cut: int) -> None:
    whole = relay()
    log = run(whole, said)
    kept = log[:cut]
    resumed = relay()
    resumed.replay(kept)
    direct = relay()
    rest = [event for event in run(direct, said) if event.seq > len(kept)]
    assert resumed.last_seq == len(kept)
    if len(kept) == len(log):
        assert (resumed.state == "open") == (whole.state == "open")
        assert resumed.gaps.metrics(NOW) == whole.gaps.metrics(NOW)
        assert (resumed.tally.produced, resumed.tool_calls) == (
            whole.tally.produced,
            whole.tool_calls,
        )
        assert resumed.notice("queued", "m") == whole.notice("queued", "m")
    else:
        assert resumed.take([Text("more")], NOW + 9)[0].seq == rest[0].seq


@given(st.lists(st.builds(Text, texts), max_size=30), st.integers(1024, 4096))
def test_what_one_read_brings_is_as_if_it_came_one_by_one(said: list[Text], log_max: int) -> None:
    at_once, one_by_one = relay(log_max), relay(log_max)
    log = [event for delta in said for event in one_by_one.take([delta], NOW + 1)]
    assert at_once.take(said, NOW + 1) == log
    assert at_once.cancel("client") == one_by_one.cancel("client")
    assert (at_once.state, at_once.last_seq) == (one_by_one.state, one_by_one.last_seq)
    assert at_once.gaps.metrics(NOW) == one_by_one.gaps.metrics(NOW)


@given(turns)
def test_the_metrics_follow_from_the_log_alone(said: Turns) -> None:
    subject = relay()
    log = run(subject, [(what, now + 0.123456789) for what, now in said])
    again = relay()
    again.replay(log)
    assert again.gaps.metrics(NOW) == subject.gaps.metrics(NOW)


def test_figures_are_made_of_the_times_that_the_log_has() -> None:
    subject = relay()
    log = subject.take([Text("a")], NOW + 0.0000006) + subject.take([Text("b")], NOW + 0.0000019)
    stamps = [event.body()["ts"] for event in log]
    assert subject.gaps.first == stamps[0]
    assert subject.gaps.last == stamps[1]


def test_replay_returns_the_text_without_the_thinking() -> None:
    log = relay().take([Reasoning("hm"), Text("a"), Text("b")], NOW)
    resumed = relay()
    assert resumed.replay(log) == "ab"
    assert resumed.reasoned


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_after_the_end_nothing_is_said_any_more(state: str) -> None:
    subject = relay()
    if state == "completed":
        subject.take([Finish("stop")], NOW)
    elif state == "failed":
        subject.fail("engine_error", "x")
    else:
        subject.cancel("client")
    assert subject.state == state
    assert subject.take([Text("late"), Finish("stop")], NOW) == []
    assert subject.notice("queued", "x") == []
    assert subject.fail("internal", "x") == []
    assert subject.cancel("client") == []


def test_a_full_log_ends_the_job_with_length() -> None:
    subject = relay(log_max=4096)
    events = run(subject, [([Text("x" * 50)], NOW)] * 100)
    assert events[-1].name == "job_complete"
    assert events[-1].body()["finish_reason"] == "length"
    assert sum(event.size for event in events) <= 4096


def test_a_full_log_is_full_for_the_next_relay_too() -> None:
    subject = relay(log_max=4096)
    log = run(subject, [([Text("x" * 50)], NOW)] * 10)
    resumed = relay(log_max=4096)
    resumed.replay(log)
    more = run(resumed, [([Text("x" * 50)], NOW)] * 100)
    assert more[-1].name == "job_complete"
    assert sum(event.size for event in log + more) <= 4096


def test_one_huge_piece_does_not_pass_the_bound() -> None:
    events = relay(log_max=4096).take([Text("a"), Text("x" * 100_000), Text("b")], NOW)
    assert sum(event.size for event in events) <= 4096
    assert events[-1].body()["finish_reason"] == "length"


def test_usage_is_the_engines() -> None:
    usage = Usage(prompt_tokens=10, completion_tokens=3, cached_tokens=4)
    assert finished(relay(), usage)["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "cached_tokens": 4,
    }


def test_usage_without_counts_is_an_estimate_that_says_so() -> None:
    subject = relay()
    subject.take([Text("a"), Text("b")], NOW)
    assert finished(subject, None)["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "cached_tokens": 0,
        "estimated": True,
    }


def test_after_a_takeover_the_part_before_counts_as_completion() -> None:
    resumed = relay()
    resumed.replay(relay().take([Text("a"), Text("b")], NOW))
    resumed.take([Text("c")], NOW)
    usage = finished(resumed, Usage(prompt_tokens=12, completion_tokens=1))["usage"]
    assert usage == {
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "cached_tokens": 0,
        "estimated": True,
    }


@pytest.mark.parametrize("code", sorted(JOB_ERRORS))
def test_a_failure_says_whether_to_try_again(code: str) -> None:
    (event,) = relay().take([Failure(code, "why")], NOW)
    body = event.body()
    assert (body["code"], body["message"]) == (code, "why")
    assert body["retryable"] is JOB_ERRORS[code]
    assert body["usage"]["completion_tokens"] == 0


def test_what_an_engine_refuses_of_a_request_it_would_refuse_again() -> None:
    for of_request in (False, True):
        (event,) = relay().take([Failure("engine_error", "no", of_request=of_request)], NOW)
        assert event.body()["retryable"] is not of_request


def test_a_job_may_be_cancelled_before_its_first_token() -> None:
    (event,) = relay().cancel("deadline")
    assert (event.seq, event.body()["reason"]) == (1, "deadline")


USED = Usage(prompt_tokens=10, completion_tokens=4)


def test_the_quota_ends_a_job_as_cancelled() -> None:
    subject = relay(quota_limit=4)
    (event,) = subject.take([Finish("length", USED)], NOW)
    assert (event.name, subject.state) == ("job_cancelled", "cancelled")
    assert event.body()["reason"] == "quota"
    assert event.body()["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "cached_tokens": 0,
    }


@pytest.mark.parametrize(
    ("end", "limit"),
    [
        (Finish("length", USED), None),
        (Finish("stop", USED), 4),
        # The model's context was full before that.
        (Finish("length", USED), 5),
    ],
)
def test_what_does_not_end_at_the_quota_is_complete(end: Finish, limit: int | None) -> None:
    (event,) = relay(quota_limit=limit).take([end], NOW)
    assert event.body()["finish_reason"] == end.reason


def test_a_full_log_is_no_quota() -> None:
    events = run(relay(log_max=4096, quota_limit=1000), [([Text("x" * 50)], NOW)] * 100)
    assert events[-1].body()["finish_reason"] == "length"


def test_after_a_takeover_the_quota_is_what_is_left_of_it() -> None:
    resumed = relay(quota_limit=5)
    resumed.replay(relay().take([Text("a"), Text("b")], NOW))
    usage = Usage(prompt_tokens=12, completion_tokens=3)
    (event,) = resumed.take([Finish("length", usage)], NOW)
    assert (event.name, event.body()["usage"]["completion_tokens"]) == ("job_cancelled", 5)


def test_an_end_without_the_final_count_has_the_last_one() -> None:
    for end in ("cancel", "fail", "full"):
        subject = relay(log_max=2048)
        subject.tally.count_by(lambda: USED)
        subject.take([Text("a")], NOW)
        events = {
            "cancel": lambda s=subject: s.cancel("client"),
            "fail": lambda s=subject: s.fail("engine_error", "x"),
            "full": lambda s=subject: s.take([Text("x" * 4096)], NOW),
        }[end]()
        assert events[-1].body()["usage"]["completion_tokens"] == 4
        assert "estimated" not in events[-1].body()["usage"]

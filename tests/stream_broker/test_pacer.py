"""The pacer: its promises under any arrivals, and its figures over traces of engines.

All in virtual time, so every figure is exact.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_broker.gaps import nearest_rank
from stream_broker.pacer import Pacer, PacingPolicy, policy_of
from tests.support.playout import Trace, bursts, generated, jitter, play, recorded

SMOOTH = PacingPolicy()
RECORDED = recorded()
GENERATED = generated()
STREAMS = [
    pytest.param(stream, id=f"{name}-{number}")
    for name, streams in (RECORDED | {name: [trace] for name, trace in GENERATED.items()}).items()
    for number, stream in enumerate(streams)
]
QUIET = ["embedded_1", "embedded_4", "embedded_8", "vllm_1", "vllm_4", "vllm_8"]
STEADY = ["constant_20ms", "constant_49ms", "constant_1ms", "uneven_15_to_25ms", "stalls"]
# Gaps as of engines, of readers that were away, and of nothing at all.
GAPS = st.one_of(
    st.floats(0.0, 0.005), st.floats(0.0, 0.3), st.floats(0.0, 5.0), st.sampled_from([0.0, 0.02])
)
ARRIVALS = st.lists(st.tuples(GAPS, st.integers(1, 40)), max_size=60)
POLICIES = st.builds(
    PacingPolicy,
    mode=st.sampled_from(["smooth", "smooth", "off"]),
    hold_max_ms=st.floats(20.0, 100.0),
    quantum_ms=st.floats(1.0, 15.0),
)


def trace_of(steps: list[tuple[float, int]]) -> Trace:
    trace, now = [], 50.0
    for gap, tokens in steps:
        now += gap
        trace.append((now, tokens))
    return trace


def learned(period: float = 0.080, size: int = 4, count: int = 20) -> tuple[Pacer, float, int]:
    """A pacer that knows its engine, with nothing held, just before the next burst is due."""
    pacer, now, seq = Pacer(SMOOTH), 100.0, 0
    for _ in range(count):
        seq += size
        pacer.push(now, seq)
        now += period
        while pacer.next_at is not None and pacer.next_at < now:
            pacer.release(pacer.next_at)
    return pacer, now, seq


# What holds for any arrivals


@given(ARRIVALS, POLICIES)
def test_every_token_goes_once_in_order_and_within_the_limit(
    steps: list[tuple[float, int]], policy: PacingPolicy
) -> None:
    trace = trace_of(steps)
    played = play(Pacer(policy), trace)
    assert len(played.released) == sum(tokens for _, tokens in trace)
    assert played.released == sorted(played.released)
    assert all(0.0 <= held <= policy.hold_max_ms / 1000 for held in played.residence)
    if policy.mode == "off":
        assert played.released == played.arrived


@given(ARRIVALS, st.data())
def test_the_cursor_only_grows_and_a_timer_runs_while_something_is_held(
    steps: list[tuple[float, int]], data: st.DataObject
) -> None:
    pacer, now, seq, cursor = Pacer(SMOOTH, seq=7), 50.0, 7, 7
    for gap, tokens in steps:
        now += gap
        action = data.draw(st.sampled_from(["push", "push", "release", "flush", "repeat"]))
        if action == "push":
            seq += tokens
            going = pacer.push(now, seq)
        elif action == "release":
            going = pacer.release(now)
        elif action == "flush":
            going = pacer.flush()
            assert going == seq
        else:
            going = pacer.push(now, seq)
        assert cursor <= going <= seq
        assert (pacer.next_at is None) == (going == seq)
        cursor = going


@given(ARRIVALS, st.lists(st.floats(0.0, 0.050), min_size=1, max_size=20))
def test_late_timers_delay_by_no_more_than_their_own_lateness(
    steps: list[tuple[float, int]], lateness: list[float]
) -> None:
    pacer, seq, released, calls = Pacer(SMOOTH), 0, 0, 0
    arrived: list[float] = []

    def let_go(cursor: int, now: float) -> None:
        nonlocal released
        for came in arrived[released:cursor]:
            assert now - came <= 0.100 + max(lateness)
        released = cursor

    def run_timers(until: float) -> None:
        nonlocal calls
        while pacer.next_at is not None and pacer.next_at + lateness[calls % len(lateness)] < until:
            now = pacer.next_at + lateness[calls % len(lateness)]
            calls += 1
            let_go(pacer.release(now), now)

    for now, tokens in trace_of(steps):
        run_timers(now)
        seq += tokens
        arrived.extend([now] * tokens)
        let_go(pacer.push(now, seq), now)
    run_timers(1e9)
    assert released == seq


@given(st.lists(st.tuples(st.floats(0.003, 0.3), st.integers(1, 40)), max_size=60))
def test_timers_write_at_most_once_a_quantum(steps: list[tuple[float, int]]) -> None:
    pacer, seq, last = Pacer(SMOOTH), 0, 0.0
    for now, tokens in trace_of(steps):
        while pacer.next_at is not None and pacer.next_at <= now:
            assert pacer.next_at >= last + 0.008 - 1e-9
            last = pacer.next_at
            pacer.release(last)
        seq += tokens
        before = seq - tokens
        if pacer.push(now, seq) > before:
            last = now


# Rules, one at a time


@given(st.floats(0.0, 1e6), st.integers(1, 40))
def test_the_first_token_goes_at_once_at_any_time(now: float, tokens: int) -> None:
    assert Pacer(SMOOTH).push(now, tokens) >= 1


def test_of_a_first_burst_the_first_token_goes_at_once_and_the_rest_soon() -> None:
    played = play(Pacer(SMOOTH), bursts(1.0, 4, 1))
    assert played.residence[0] == 0.0
    assert max(played.residence) < 0.060


def test_what_was_released_before_is_not_released_again() -> None:
    assert Pacer(SMOOTH, seq=41).push(5.0, 42) == 42


def test_off_passes_everything_through() -> None:
    pacer = Pacer(PacingPolicy("off"))
    for number, (now, _) in enumerate(bursts(0.080, 1, 50)):
        assert pacer.push(now, 4 * number + 4) == 4 * number + 4
        assert pacer.next_at is None


def test_a_burst_is_spread_until_the_next_one() -> None:
    pacer, now, seq = learned()
    assert pacer.push(now, seq + 4) == seq + 1
    for number in (2, 3, 4):
        due = pacer.next_at
        assert due is not None
        assert due == pytest.approx(now + (number - 1) * 0.020)
        assert pacer.release(due - 0.001) == seq + number - 1
        assert pacer.release(due) == seq + number
    assert pacer.next_at is None


def test_the_segments_of_a_burst_are_one_burst() -> None:
    pacer, now, seq = learned()
    for number in range(1, 5):
        pacer.push(now + number * 0.0003, seq + number)
    assert pacer.release(now + 0.012) == seq + 1
    assert pacer.release(now + 0.062) == seq + 4


def test_after_a_pause_everything_goes_at_once() -> None:
    pacer, now, seq = learned()
    now += 2.0
    assert pacer.push(now, seq + 4) == seq + 4
    assert pacer.push(now + 0.001, seq + 5) == seq + 5
    assert pacer.push(now + 0.080, seq + 9) == seq + 6


def test_an_engine_that_becomes_slow_is_learned_and_paced_again() -> None:
    trace = bursts(0.025, 4, 60)
    trace += [(trace[-1][0] + 0.3 * number, 4) for number in range(1, 40)]
    late = play(Pacer(SMOOTH), trace).residence[-40:]
    assert max(late) > 0.080


def test_a_burst_at_the_end_has_drained_before_the_next_one_would_come() -> None:
    pacer, now, seq = learned()
    pacer.push(now, seq + 4)
    assert pacer.release(now + 0.061) == seq + 4


def test_flush_lets_everything_go() -> None:
    pacer, now, seq = learned()
    pacer.push(now, seq + 4)
    assert pacer.flush() == seq + 4
    assert pacer.next_at is None
    assert pacer.release(now + 1.0) == seq + 4


def test_a_repeated_or_older_number_changes_nothing() -> None:
    pacer, now, seq = learned()
    cursor = pacer.push(now, seq + 4)
    due = pacer.next_at
    assert pacer.push(now + 0.003, seq + 4) == cursor
    assert pacer.push(now + 0.003, seq) == cursor
    assert pacer.next_at == due


def test_a_burst_of_a_smooth_engine_once_in_a_while_does_not_make_it_bursty() -> None:
    trace = [(100 + 0.020 * n, 8 if n % 40 == 39 else 1) for n in range(400)]
    assert max(play(Pacer(SMOOTH), trace).residence) == 0.0


def test_an_engine_that_becomes_smooth_is_let_through_again() -> None:
    trace = bursts(0.080, 4, 40)
    trace += [(trace[-1][0] + 0.020 * number, 1) for number in range(1, 200)]
    assert play(Pacer(SMOOTH), trace).residence[-100:] == [0.0] * 100


# Figures over the traces


@pytest.mark.parametrize("stream", STREAMS)
def test_no_trace_is_held_too_long_or_made_rougher(stream: Trace) -> None:
    played = play(Pacer(SMOOTH), stream)
    assert played.residence[0] == 0.0
    assert max(played.residence) <= 0.100
    assert played.released[-1] - played.arrived[-1] <= 0.100
    assert jitter(played.released) <= jitter(played.arrived) + 0.0005


@pytest.mark.parametrize(
    "name",
    [
        "bursts_4_every_80ms",
        "bursts_4_every_80ms_short",
        "bursts_2_to_8_every_80ms",
        "bursts_2_to_8_every_40ms",
        "bursts_2_to_8_in_segments",
        "bursts_getting_faster",
        "stalls_of_bursts",
    ],
)
def test_the_jitter_of_bursts_is_cut_to_a_third(name: str) -> None:
    played = play(Pacer(SMOOTH), GENERATED[name])
    assert jitter(played.released) <= jitter(played.arrived) / 3


def test_a_real_speculating_engine_is_halved_where_the_limit_has_room_for_its_period() -> None:
    (stream,) = RECORDED["speculative_2"]
    played = play(Pacer(SMOOTH), stream)
    assert jitter(played.released) <= jitter(played.arrived) / 2


@pytest.mark.parametrize("name", QUIET)
def test_a_real_engine_that_is_smooth_is_not_held(name: str) -> None:
    for stream in RECORDED[name]:
        residence = sorted(play(Pacer(SMOOTH), stream).residence)
        assert nearest_rank(residence, 99) <= 0.002


@pytest.mark.parametrize("name", STEADY)
def test_a_steady_engine_is_not_held(name: str) -> None:
    residence = sorted(play(Pacer(SMOOTH), GENERATED[name]).residence)
    assert nearest_rank(residence, 99) == 0.0


@pytest.mark.parametrize("gap_ms", [*range(3, 120, 4), 49, 50, 51])
def test_no_rate_of_tokens_beats_against_the_pacer(gap_ms: int) -> None:
    played = play(Pacer(SMOOTH), bursts(gap_ms / 1000, 1, 200))
    assert played.released == played.arrived


@pytest.mark.parametrize("period_ms", [*range(20, 100, 7), 49, 50, 51])
def test_no_period_of_bursts_beats_against_the_pacer(period_ms: int) -> None:
    played = play(Pacer(SMOOTH), bursts(period_ms / 1000, 2, 200))
    assert jitter(played.released) <= period_ms / 1000 / 3


@pytest.mark.parametrize("name", ["bursts_3_every_10ms", "bursts_8_every_27ms"])
def test_at_300_tokens_a_second_about_three_go_with_a_write(name: str) -> None:
    played = play(Pacer(SMOOTH), GENERATED[name])
    assert played.writes <= len(played.released) * 0.4


def test_a_backlog_drains_when_the_engine_becomes_faster() -> None:
    played = play(Pacer(SMOOTH), GENERATED["bursts_getting_faster"])
    assert max(played.residence[-40:]) <= 0.040


# The policy


@pytest.mark.parametrize(
    ("pacing", "policy"),
    [
        ({}, PacingPolicy("smooth", 100.0, 8.0)),
        ({"mode": "smooth", "hold_max_ms": 100}, PacingPolicy("smooth", 100.0, 8.0)),
        ({"mode": "off", "hold_max_ms": 100}, PacingPolicy("off", 100.0, 8.0)),
        ({"mode": "fast", "more": 1}, PacingPolicy("smooth", 100.0, 8.0)),
        ({"hold_max_ms": 40, "quantum_ms": 10.0}, PacingPolicy("smooth", 40.0, 10.0)),
        ({"hold_max_ms": 5000, "quantum_ms": 0}, PacingPolicy("smooth", 100.0, 1.0)),
        ({"hold_max_ms": 0}, PacingPolicy("off", 0.0, 8.0)),
        ({"hold_max_ms": -1}, PacingPolicy("off", 0.0, 8.0)),
        ({"hold_max_ms": "many", "quantum_ms": True}, PacingPolicy("smooth", 100.0, 8.0)),
        ({"hold_max_ms": float("nan"), "mode": None}, PacingPolicy("smooth", 100.0, 8.0)),
    ],
)
def test_a_policy_out_of_a_grant(pacing: dict[str, Any], policy: PacingPolicy) -> None:
    assert policy_of(pacing) == policy


@given(
    st.dictionaries(
        st.sampled_from(["mode", "hold_max_ms", "quantum_ms", "x"]), st.from_type(object)
    )
)
def test_no_policy_raises_or_holds_too_long(pacing: dict[str, Any]) -> None:
    policy = policy_of(pacing)
    assert 0.0 <= policy.hold_max_ms <= 100.0
    played = play(Pacer(policy), bursts(0.050, 5, 30))
    assert max(played.residence) <= policy.hold_max_ms / 1000

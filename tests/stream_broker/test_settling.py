from __future__ import annotations

import pytest

from contracts.grants import Usage
from stream_broker.events import Event
from stream_broker.relay import Relay
from stream_broker.settling import FINAL_TEXT_MAX, bounded_text, settlement_of
from tests.stream_broker.building import JOB, NOW, USER, head


def ended(how: str) -> Event:
    relay = Relay(JOB, NOW, log_max=1 << 20, prompt_estimate=7)
    return (relay.fail("engine_error", "x") if how == "failed" else relay.cancel("quota"))[0]


@pytest.mark.parametrize(("how", "code"), [("failed", "engine_error"), ("cancelled", "quota")])
def test_a_settlement_says_how_it_ended(how: str, code: str) -> None:
    settlement = settlement_of(
        head(session_id="s"),
        ended(how),
        engine="ollama",
        node="n",
        first_token_at=None,
        ended_at=NOW + 3,
    )
    assert (settlement.outcome, settlement.code) == (how, code)
    assert (settlement.engine, settlement.final_text) == ("ollama", None)
    assert settlement.usage == Usage(prompt_tokens=7, estimated=True)
    assert (settlement.user_id, settlement.lease_id, settlement.session_id) == (USER, "l-1", "s")
    assert (settlement.created_at, settlement.ended_at) == (NOW, NOW + 3)


@pytest.mark.parametrize("unit", ["a", "é", "語", "🦊"])
def test_a_long_text_is_cut_at_a_whole_character(unit: str) -> None:
    text = "x" + unit * FINAL_TEXT_MAX
    bounded = bounded_text(text)
    assert text.startswith(bounded)
    assert FINAL_TEXT_MAX - 4 < len(bounded.encode()) <= FINAL_TEXT_MAX
    assert bounded_text("short 🦊") == "short 🦊"

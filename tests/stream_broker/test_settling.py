from __future__ import annotations

import pytest

from contracts.grants import Usage
from stream_broker.events import Event
from stream_broker.relay import Relay
from stream_broker.settling import settlement_of
from tests.stream_broker.building import JOB, NOW, USER, head


def ended(how: str) -> Event:
    relay = Relay(JOB, NOW, log_max=1 << 20, prompt_estimate=7)
    return (relay.fail("engine_error", "x") if how == "failed" else relay.cancel("quota"))[0]


@pytest.mark.parametrize(("how", "code"), [("failed", "engine_error"), ("cancelled", "quota")])
def test_a_settlement_says_how_it_ended(how: str, code: str) -> None:
    settlement = settlement_of(
        head(session_id="s"), ended(how), node="n", first_token_at=None, ended_at=NOW + 3
    )
    assert (settlement.outcome, settlement.code) == (how, code)
    assert settlement.usage == Usage(prompt_tokens=7, estimated=True)
    assert (settlement.user_id, settlement.lease_id, settlement.session_id) == (USER, "l-1", "s")
    assert (settlement.created_at, settlement.ended_at) == (NOW, NOW + 3)

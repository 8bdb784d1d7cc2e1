from __future__ import annotations

from stream_broker.tenure import Tenure


def test_a_tenure_ends_its_ttl_after_the_renewal_was_sent() -> None:
    tenure = Tenure(2.0, 10.0)
    assert tenure.holds(11.9)
    assert not tenure.holds(12.0)
    tenure.renewed(11.0)
    assert tenure.holds(12.9)
    assert not tenure.holds(13.0)


def test_answers_out_of_order_do_not_shorten_it() -> None:
    tenure = Tenure(2.0, 10.0)
    tenure.renewed(12.0)
    tenure.renewed(11.0)
    assert tenure.holds(13.9)

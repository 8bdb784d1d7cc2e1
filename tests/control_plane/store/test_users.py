"""Users and what they are allowed."""

from __future__ import annotations

from sqlalchemy import Connection, insert, update

from control_plane.allowance import Allowance
from control_plane.store.schema import allowances, tiers
from control_plane.store.users import all_users


def test_a_user_is_allowed_what_its_tier_is_where_nothing_of_its_own_is_said(
    connection: Connection,
) -> None:
    connection.execute(update(tiers).values(streams=7, tokens_day=100))
    connection.execute(insert(allowances).values(user_id="u", tokens_day=5, requests_month=0))
    own, other = all_users(connection)
    assert own.allowance == Allowance(streams=7, tokens_day=5, requests_month=0)
    assert other.allowance == Allowance(streams=7, tokens_day=100)

from __future__ import annotations

import msgspec
import pytest

from contracts.grants import Grant
from stream_broker import sharing as module
from stream_broker.sharing import Sharing
from tests.stream_broker.building import OTHER_TARGET, grant


def another(**changes: object) -> Grant:
    """A grant as it comes off the wire: no part of it is an object of another one."""
    encoded = msgspec.json.encode(grant(fallbacks=(OTHER_TARGET,), **changes))  # type: ignore[arg-type]
    return msgspec.json.decode(encoded, type=Grant)


def test_grants_share_what_is_equal_in_them() -> None:
    sharing = Sharing()
    one, two = sharing.of(another()), sharing.of(another())
    assert one == two == another()
    for name in ("engine", "fallbacks", "limits", "tools", "inspection", "pacing", "reservation"):
        assert getattr(one, name) is getattr(two, name)


def test_grants_do_not_share_what_differs() -> None:
    sharing = Sharing()
    one, two = sharing.of(another(max_tokens=1)), sharing.of(another(max_tokens=2))
    assert (one.limits.max_tokens, two.limits.max_tokens) == (1, 2)


def test_parts_that_are_written_alike_are_not_mixed_up() -> None:
    sharing = Sharing()
    plain = another()
    made = sharing.of(msgspec.structs.replace(plain, tools=[], fallbacks=[], pacing={}))
    assert (made.tools, made.fallbacks, made.pacing) == ([], [], {})
    assert made.inspection == plain.inspection


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PARTS_MAX", 20)
    sharing = Sharing()
    for number in range(100):
        assert sharing.of(another(max_tokens=number + 1)).limits.max_tokens == number + 1
        assert len(sharing._parts) <= 30

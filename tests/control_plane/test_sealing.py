"""What is kept at rest: opens in its own place, with its own key, unchanged, or not at all."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.sealing import Place, Sealer, SealError, data_key, key_id

OLD, NEW = os.urandom(32), os.urandom(32)
PLACE = Place("local", "c-1", 1)


@given(st.text())
def test_what_was_sealed_opens_again(text: str) -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(text, PLACE)
    assert sealer.open(sealed, PLACE) == text
    assert sealed != sealer.seal(text, PLACE)
    if len(text.encode()) > 4:
        assert text.encode() not in sealed


@pytest.mark.parametrize(
    "place",
    [
        Place("other", "c-1", 1),
        Place("local", "c-2", 1),
        Place("local", "c-1", 2),
        # The same characters, cut in another place.
        Place("localc", "-1", 1),
    ],
)
def test_a_text_in_another_place_does_not_open(place: Place) -> None:
    sealer = Sealer([NEW])
    with pytest.raises(SealError, match="another place"):
        sealer.open(sealer.seal("secret", PLACE), place)


@given(st.data())
def test_damage_is_noticed(data: st.DataObject) -> None:
    sealed = bytearray(Sealer([NEW]).seal("secret", PLACE))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealError):
        Sealer([NEW]).open(bytes(sealed), PLACE)


@given(st.binary(max_size=64))
def test_what_was_never_sealed_does_not_open(garbage: bytes) -> None:
    with pytest.raises(SealError):
        Sealer([NEW]).open(garbage, PLACE)


def test_a_key_can_be_changed() -> None:
    before, after = Sealer([OLD]), Sealer([NEW, OLD])
    old = before.seal("old", PLACE)
    assert after.open(old, PLACE) == "old"
    new = after.seal("new", PLACE)
    assert new[1:5] == key_id(NEW)
    with pytest.raises(SealError, match=key_id(NEW).hex()):
        before.open(new, PLACE)
    with pytest.raises(SealError, match=key_id(OLD).hex()):
        Sealer([NEW]).open(old, PLACE)


def test_a_key_is_32_bytes_in_base64() -> None:
    assert data_key(base64.b64encode(NEW).decode()) == NEW
    for wrong in ("", "x", base64.b64encode(NEW[:31]).decode(), "é" * 44, NEW.hex()):
        with pytest.raises(ValueError, match="not "):
            data_key(wrong)
    with pytest.raises(ValueError, match="at least one"):
        Sealer([])

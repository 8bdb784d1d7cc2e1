"""What is kept of prompts and answers is encrypted at rest (AES-256-GCM). Pure but for nonces.

A sealed text is: one byte of version, four of the key's id, twelve of nonce, then cipher
text and tag. It opens only in the place it was sealed for, so rows that are swapped or
copied in the database are noticed. Nonces are random: one key is good for 2³² texts.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
# The number of a conversation's title; its messages count from 1.
TITLE: Final = 0
_VERSION: Final = b"\x01"
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = len(_VERSION) + _ID_BYTES + _NONCE_BYTES
_TAG_BYTES: Final = 16


class SealError(Exception):
    """A sealed text cannot be opened: of another key, of another place, or damaged."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a text belongs: to a message by its number, or to the title."""

    user_id: str
    conversation_id: str
    number: int


class Sealer:
    """Seals with the first of `keys`, opens with any: the others are from before a rotation."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("at least one key is needed")
        self._ciphers = {key_id(key): AESGCM(key) for key in reversed(keys)}
        self._id = key_id(keys[0])

    def seal(self, text: str, place: Place) -> bytes:
        """`text` for `place`. Any text can be sealed, also half of a surrogate pair."""
        nonce = os.urandom(_NONCE_BYTES)
        content = text.encode("utf-8", "surrogatepass")
        sealed = self._ciphers[self._id].encrypt(nonce, content, _bound_to(place))
        return _VERSION + self._id + nonce + sealed

    def open(self, sealed: bytes, place: Place) -> str:
        """The text that was sealed for `place`. Raises SealError."""
        if len(sealed) < _HEAD_BYTES + _TAG_BYTES or sealed[:1] != _VERSION:
            raise SealError("not a sealed text")
        named = sealed[1 : 1 + _ID_BYTES]
        cipher = self._ciphers.get(named)
        if cipher is None:
            raise SealError(f"sealed with a key that is not here: {named.hex()}")
        nonce = sealed[1 + _ID_BYTES : _HEAD_BYTES]
        try:
            content = cipher.decrypt(nonce, sealed[_HEAD_BYTES:], _bound_to(place))
        except InvalidTag as error:
            raise SealError("damaged, or sealed for another place") from error
        return content.decode("utf-8", "surrogatepass")


def key_id(key: bytes) -> bytes:
    """Tells keys apart without telling anything of them."""
    return hashlib.sha256(b"okome data key\0" + key).digest()[:_ID_BYTES]


def data_key(text: str) -> bytes:
    """A key as it is written in a file: 32 bytes in base64. Raises ValueError."""
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError("not base64") from error
    if len(key) != KEY_BYTES:
        raise ValueError(f"not {KEY_BYTES} bytes")
    return key


def _bound_to(place: Place) -> bytes:
    return msgspec.json.encode(place)

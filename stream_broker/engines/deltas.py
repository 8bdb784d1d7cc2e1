"""What an engine says, in one vocabulary for every engine.

A stream is any number of Text, Reasoning and ToolCall, then exactly one Finish or
Failure, then nothing. The types are msgspec structs rather than dataclasses: equally
frozen and slotted, and made in 0.07 us instead of 0.31 us, once a token.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from contracts.grants import Usage

FINISH_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter"})
MESSAGE_MAX: Final = 300


class Text(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer, never empty; one or more tokens."""

    text: str


class Reasoning(msgspec.Struct, frozen=True, gc=False):
    """A piece of the thinking that precedes the answer, never empty."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A whole call of a tool. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class Finish(msgspec.Struct, frozen=True):
    """A clean end. `reason` is one of FINISH_REASONS; `usage` is None if none was told."""

    reason: str
    usage: Usage | None = None


class Failure(msgspec.Struct, frozen=True, gc=False):
    """An end that is not clean. `code` is a key of `contracts.codes.JOB_ERRORS`.

    `message` is for the client: one plain sentence of at most MESSAGE_MAX characters.
    `of_request`: the engine has refused this request, which says nothing of how it is.
    """

    code: str
    message: str
    of_request: bool = False


Delta: TypeAlias = Text | Reasoning | ToolCall | Finish | Failure
